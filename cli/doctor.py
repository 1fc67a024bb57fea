"""`dcsearch doctor`: checks of the index and of what it depends on."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.cures import WORDS
from cli.exits import DONE, INDEX_UNUSABLE, WEIGHTS
from cli.options import Database, Json
from cli.progress import Bar
from cli.render import SCHEMA_VERSION, add_row, json_bytes, plain_table
from cli.terminal import print_table, say, warn, write_results

if TYPE_CHECKING:
    from indexer import Finding


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what can be repaired without losing data.")
    ] = False,
    json: Json = False,
    database: Database = None,
) -> None:
    """Check the index, its search cache, its model and the system for problems.

    Every photo's regions are compared with their checksums.
    """
    from indexer import examine

    with Bar("looking", unit="photos", total=None) as bar:
        findings = list(
            examine(
                database,
                repair=repair,
                on_progress=lambda done, of: bar.reach(done, total=of),
                on_wait=warn,
            )
        )
    if json:
        items = [
            {
                "subject": finding.subject,
                "state": str(finding.state),
                "sentence": finding.sentence,
                "cure": _cure(finding) or None,
            }
            for finding in findings
        ]
        document = {"schema_version": SCHEMA_VERSION, "findings": items}
        write_results(json_bytes(document, indent=2))
    else:
        table = plain_table("state", "about", "phrase")
        table.show_header = False
        for finding in findings:
            cure = _cure(finding)
            sentence = f"{finding.sentence}; {cure}" if cure else finding.sentence
            add_row(table, str(finding.state), finding.subject, sentence)
        print_table(table)
    wrong = [finding for finding in findings if finding.state == "problem"]
    say(f"{len(wrong)} problem{'' if len(wrong) == 1 else 's'}" if wrong else "all is well")
    if not wrong:
        raise typer.Exit(DONE)
    raise typer.Exit(WEIGHTS if {each.subject for each in wrong} == {"model"} else INDEX_UNUSABLE)


def _cure(finding: "Finding") -> str:
    return WORDS[finding.cure].format(**finding.values) if finding.cure else ""
