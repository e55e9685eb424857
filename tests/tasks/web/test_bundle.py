"""Modules become one script, which a page can hold that may load nothing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tasks.web.bundle as bundle
from tasks.web.bundle import STATIC, classic, constant_of

NODE = shutil.which("node")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundle, "STATIC", tmp_path)
    monkeypatch.setattr(bundle, "VENDOR", tmp_path)
    classic.cache_clear()
    return tmp_path


@pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")
def test_what_runs_is_what_the_modules_say(folder: Path) -> None:
    (folder / "three.module.min.js").write_text(
        'import{a as x,b as y}from"./core.js";export{a,b as renamed}from"./core.js";const sum=x+y;export{sum as total};'
    )
    (folder / "core.js").write_text("const one=1;let two;function set(){two=2}set();{}export{one as a,two as b};")
    (folder / "main.js").write_text(
        'import * as ALL from "three";\nimport {\n\ttotal,\n} from "/static/vendor/three.module.min.js";\n'
        "export function told() { return [ALL.a, ALL.renamed, total]; }\nexport const name = 'x';\n"
    )
    script = (
        f"{classic('main.js')}\nconsole.log(JSON.stringify([{constant_of('main.js')}.told(), module_main_js.name]));"
    )
    assert NODE is not None
    run = subprocess.run([NODE, "-e", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == '[[1,2,3],"x"]'


@pytest.mark.parametrize("statement", ["export default 1;", 'import three from "three";', 'export * from "three";'])
def test_a_statement_of_another_form_is_refused(folder: Path, statement: str) -> None:
    (folder / "main.js").write_text(f"const a = 1;\n{statement}\n")
    with pytest.raises(ValueError, match=r"main\.js: a statement of a form that is not bundled"):
        classic("main.js")


def test_the_scripts_of_a_report_can_stand_in_a_page() -> None:
    classic.cache_clear()
    script = classic("bodies.js")
    assert "</script" not in script.lower()
    assert "<!--" not in script
    assert "\r" not in script
    assert not re.search(r"^\s*(import|export)\b[^(]", script, re.MULTILINE)
    if NODE is not None:  # as a script, which a file with modules' words would not be
        parse = "new (require('vm').Script)(require('fs').readFileSync(0, 'utf-8'))"
        subprocess.run([NODE, "-e", parse], input=script, text=True, check=True)
    assert script.count(f"const {constant_of('three.core.min.js')} =") == 1
    assert (STATIC / "bodies.js").exists()
