"""study: for each seed base policy → HMR-Scorer → generate → score; for each cell pair → align → evaluate → compare."""

from prefect import flow

from flows.order.study import explore
from flows.progress.artifacts import log_in_current_run
from flows.run import parameters
from flows.run.early import check_cells, check_round
from flows.run.session import single_step
from flows.run.studies.asked import asked_for, cells_of, choices


@flow(name="study", flow_run_name=parameters.run_named("study {study}"), persist_result=False)
def study(
    study: str = "objectives",
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    seeds: parameters.OptionalText = None,
    out: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Align one base policy in several ways, for several seeds, and measure all on validation; gives the study's key.

    Args:
        study: name of a study that comes with the engine (objectives, strategies, strength), or path of a file (YAML)
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        seeds: seeds in the place of the study's, separated by commas, such as 0,1,2
        out: folder for page and figures; below the store's studies/ if not given
        changes: configuration fields that differ from the profile, dotted name to value, for all cells
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    from tasks.study.found import read_study
    from tasks.study.page import table, verdict
    from tasks.study.write import folder_of, write_study

    asked, configs, notices = asked_for(study, seeds, profile, changes, config)
    first = choices(asked, asked.seeds[0], profile, changes, config)
    with single_step(store, first, create=True) as runner:
        check_round(runner.context)
        check_cells(runner.context, cells_of(asked, configs))
        for notice in notices:
            log_in_current_run(notice)
        key = explore(runner, asked, configs)
        found = read_study(runner.context.store, key, asked)
        write_study(runner.context.store, found, out)
        for line in (*table(found), verdict(found), f"files: {folder_of(runner.context.store, found, out)}"):
            log_in_current_run(line)
        return key
