import random
import sys
import time
import unicodedata
from html.parser import HTMLParser
from typing import Literal

import pytest

from lightning_tx.data.cleaning import Cleaning

PLAIN = Cleaning(normalize="none")
HTML = Cleaning(strip_html=True)
URLS = Cleaning(strip_urls=True)
CORE = Cleaning(core_characters=True)
EVERYTHING = Cleaning(strip_html=True, normalize="NFKC", strip_urls=True, core_characters=True, lowercase=True)

#: All that have a name: without surrogates, and places that are private or not assigned.
EVERY_CHARACTER = [
    character
    for character in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(character) not in ("Cs", "Co", "Cn")
]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a  b\t\tc \n", "a b c"),
        ("a\u00a0b\u2028c\u3000d\x85e", "a b c d e"),
        ("", ""),
        (" \t\u2003", ""),
        ("Already clean.", "Already clean."),
        ("1 < 2 &amp; <b>x</b> http://x.org Ünï", "1 < 2 &amp; <b>x</b> http://x.org Ünï"),
    ],
)
def test_white_space_alone_changes_unless_asked(text: str, cleaned: str) -> None:
    assert PLAIN(text) == cleaned
    assert Cleaning()(text) == cleaned


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_every_character_is_normalized_and_stays_so_in_small_letters(form: Literal["NFC", "NFKC"]) -> None:
    for lowercase in (False, True):
        clean = Cleaning(normalize=form, lowercase=lowercase)
        assert all(unicodedata.is_normalized(form, clean(f"x{character}")) for character in EVERY_CHARACTER)


def test_composed_and_decomposed_spellings_become_one() -> None:
    assert Cleaning()("cafe\u0301") == Cleaning()("caf\u00e9") == "caf\u00e9"
    assert PLAIN("cafe\u0301") == "cafe\u0301"
    assert Cleaning()("\ufb01 \uff21 x²") == "\ufb01 \uff21 x²"
    assert Cleaning(normalize="NFKC")("\ufb01 \uff21 x²") == "fi A x2"


def test_small_letters() -> None:
    assert Cleaning(lowercase=True)("Ein ÄRGER, Straße ΣΟΦΟΣ") == "ein ärger, straße σοφος"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Das ist <i>gut</i>.", "Das ist gut."),
        ("one<br>two<br/>three<BR />four", "one two three four"),
        ('<p class="x">Text</p><p>more</p>', "Text more"),
        ('a <a href="http://x.org/?a=1&b=2">link</a>!', "a link!"),
        ("before<!-- no <b> -- here -->after", "before after"),
        ("<o:p>Office</o:p>", "Office"),
        ("stone &amp; tile, &#39;so&#x27; said &eacute;&nbsp;he", "stone & tile, 'so' said é he"),
        ("&apos;s &quot;x&quot; &#91;y&#93;", '\'s "x" [y]'),
        ("&lt;b&gt; is a tag", "<b> is a tag"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("a <3 b <- c", "a <3 b <- c"),
        ("<https://x.org> stays", "<https://x.org> stays"),
        ("AT&T, R&D; ?a=1&copy=2 &nosuch; &", "AT&T, R&D; ?a=1&copy=2 &nosuch; &"),
        ("an &#10; end and &#0; and &#xD800;", "an end and \ufffd and \ufffd"),
        ("<b></b>", ""),
    ],
)
def test_tags_and_entities(text: str, cleaned: str) -> None:
    assert HTML(text) == cleaned


def test_tags_and_entities_as_an_html_parser_reads_them() -> None:
    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__(convert_charrefs=True)
            self.parts: list[str] = []

        def handle_data(self, data: str) -> None:
            self.parts.append(data)

    generator = random.Random(0)
    parts = [
        "<b>",
        "</b>",
        "<i class='x'>",
        "</i>",
        "&amp;",
        "&lt;",
        "&#228;",
        "&ouml;",
        "word",
        " ",
        "Ü.",
        "<!-- c -->",
    ]
    for _ in range(500):
        text = "".join(generator.choice(parts) for _ in range(12))
        parser = Text()
        parser.feed(text)
        parser.close()
        # A comment separates words here and not to the parser.
        assert HTML(text).replace(" ", "") == "".join(parser.parts).replace(" ", "")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("see http://example.org/a?b=c#d now", "see now"),
        ("see https://example.org.", "see ."),
        ("(www.example.org/x), WWW.Example.ORG!", "( ), !"),
        ("ftp://a.b/c and HTTP://D", "and"),
        ("»http://münchen.de/straße«", "»"),
        ("www is not one, nor is ://x or xwww.y.z", "www is not one, nor is ://x or xwww.y.z"),
    ],
)
def test_addresses(text: str, cleaned: str) -> None:
    assert URLS(text) == cleaned


def test_an_entity_in_an_address_is_decoded_first() -> None:
    assert Cleaning(strip_html=True, strip_urls=True)("x http://a.b/?c=1&amp;d=2 y") == "x y"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("„Grüße“, sagte er – „isn’t it…“", '"Grüße", sagte er - "isn\'t it..."'),
        ("a_b/c*d = 100% [sic]", "a b c d 100 sic"),
        ("(yes): no; well-known? 3.5!", "(yes): no; well-known? 3.5!"),
        ("हिन्दी かな 中文", "हिन्दी かな 中文"),
        ("So\u00adft hyphen\u200b😀!", "Soft hyphen !"),
        ("★ ☆", ""),
    ],
)
def test_core_characters(text: str, cleaned: str) -> None:
    assert CORE(text) == cleaned


def test_only_core_characters_are_left_of_all_there_are() -> None:
    left = set(" ".join(map(CORE, EVERY_CHARACTER)))
    others = {character for character in left if unicodedata.category(character)[0] not in "LMN"}
    assert others <= set(" .,;:!?'\"()-")
    letters = {character for character in EVERY_CHARACTER if unicodedata.category(character)[0] in "LM"}
    assert {letter for letter in letters if unicodedata.is_normalized("NFC", letter)} <= left


def test_cleaned_text_is_clean() -> None:
    generator = random.Random(1)
    for _ in range(300):
        text = "".join(generator.choice(EVERY_CHARACTER) for _ in range(30)) + " http://x.org/ „a“ _ <br> Ab"
        once = EVERYTHING(text)
        assert EVERYTHING(once) == once


@pytest.mark.parametrize("hostile", ["<a" * 50_000, "&a" * 50_000, "http://" * 20_000, "www." + "." * 100_000])
def test_hostile_text_takes_no_longer_than_its_length_allows(hostile: str) -> None:
    start = time.process_time()
    EVERYTHING(hostile)
    assert time.process_time() - start < 2
