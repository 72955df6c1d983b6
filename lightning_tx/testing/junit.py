"""Results as JUnit writes them, which servers that build and test read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from lightning_tx.testing.results import Result


def write_junit(path: Path, checked: Iterable[tuple[str, Sequence[Result]]]) -> None:
    """Write a suite for each choice, with a case for each property and model.

    Args:
        path: the file, which is replaced if it exists.
        checked: what was checked, as ``group/label``, and what came of it.
    """
    root = ElementTree.Element("testsuites", name="ltx check")
    for title, results in checked:
        seconds = sum(result.seconds for result in results)
        suite = ElementTree.SubElement(root, "testsuite", name=title, tests=str(len(results)), time=f"{seconds:.3f}")
        suite.set("failures", str(sum(result.status == "failed" for result in results)))
        suite.set("skipped", str(sum(result.status in ("skipped", "unasked") for result in results)))
        for result in results:
            case = ElementTree.SubElement(
                suite, "testcase", classname=title, name=result.property, time=f"{result.seconds:.3f}"
            )
            if result.failure is not None:
                failure = ElementTree.SubElement(case, "failure", message=_printable(result.failure.seen))
                failure.text = _printable(str(result.failure))
            elif result.reason:
                ElementTree.SubElement(case, "skipped", message=_printable(result.reason))
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """Text without the characters that XML has no way to write."""
    return "".join(each if each in "\t\n" or each >= " " else "?" for each in text)
