from __future__ import annotations

import pytest

from stages.build.transcript import Transcript


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def transcript(said: list[str]) -> Transcript:
    return Transcript(said.append)


def test_lines_come_whole_however_the_engine_cuts_them(transcript: Transcript, said: list[str]) -> None:
    for text in ("Step 1/2 : FROM scratch", "\n", " ---> \n", "one\ntw", "o\n\n", "three"):
        transcript.add({"stream": text})
    assert said == ["Step 1/2 : FROM scratch", "one", "two"]
    transcript.end()
    assert said[-1] == "three"


def test_colours_and_progress_bars_are_left_out(transcript: Transcript, said: list[str]) -> None:
    transcript.add({"stream": "\x1b[91mwarning\x1b[0m\n10%\r50%\r100%\r\n"})
    transcript.add({"status": "Downloading", "id": "abc", "progressDetail": {"current": 1}, "progress": "[=> ]"})
    transcript.add({"status": "Pull complete", "id": "abc", "progressDetail": {}})
    assert said == ["warning", "100%", "abc: Pull complete"]


def test_the_step_and_its_last_lines_are_known_when_it_fails(transcript: Transcript) -> None:
    lines = ["Step 1/3 : FROM a", "old", "Step 2/3 : RUN x", " ---> Running in 1234", *map(str, range(30))]
    transcript.add({"stream": "\n".join(lines) + "\nunended"})
    transcript.add({"errorDetail": {"code": 3, "message": "returned a non-zero code: 3"}, "error": "short"})
    assert (transcript.step, transcript.instruction) == (2, "RUN x")
    assert transcript.error == "returned a non-zero code: 3"
    assert list(transcript.last) == [*map(str, range(11, 30)), "unended"]


def test_the_image_is_the_engines_word_and_the_text_only_without_it(transcript: Transcript) -> None:
    transcript.add({"aux": {"ID": "sha256:" + "a" * 64}})
    transcript.add({"stream": "Successfully built bbbbbbbbbbbb\n"})
    assert transcript.image == "sha256:" + "a" * 64
    other = Transcript(lambda _: None)
    other.add({"stream": "Successfully built bbbbbbbbbbbb\n"})
    assert other.image == "bbbbbbbbbbbb"
