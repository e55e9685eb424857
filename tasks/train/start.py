"""What HMR-Scorer's image encoder starts from: the policy's, a published vision transformer, or nothing."""

from models.checkpoints.loading import start_encoder
from models.checkpoints.published import read_published
from models.condition import ConditionNetwork
from models.hmr_scorer import HMRScorer
from models.policy import Policy
from schemas.config.training import TrainScorerConfig


def start_encoder_of(scorer: HMRScorer, config: TrainScorerConfig, policy: Policy) -> None:
    """Load what `config` says; the two are known to go together (`checks.check_start`).

    DataError, with what differs, for a file that holds no vision transformer, or one of another size.
    """
    if config.encoder_file is not None:
        start_encoder(scorer.encoder, read_published(config.encoder_file))
    if not config.start_from_policy:
        return
    condition, own = policy.condition, scorer.encoder.state_dict()
    started = (condition.backbone if isinstance(condition, ConditionNetwork) else condition).state_dict()
    # HRNet as a policy has it has a head for betas, which a scorer's lacks
    scorer.encoder.load_state_dict({name: started[name] for name in own})
