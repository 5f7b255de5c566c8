"""What artifacts promise, over every kind of place, and how strict their names are."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.artifacts import Artifacts, Files, check_uri
from weftline_executor.errors import ArtifactDamaged, ArtifactNameInvalid, ArtifactNotFound

SHA = "0" * 64


async def test_an_artifact_says_what_it_is_and_is_read_whole_or_in_pieces(artifacts: Artifacts) -> None:
    body = b'{"rows": [1, 2, 3]}'
    kept = await artifacts.put("run-1", body)
    digest = hashlib.sha256(body).hexdigest()
    assert (kept.uri, kept.size, kept.sha256) == (f"weftline:run-1/{digest}", len(body), digest)
    assert kept.content_type == "application/json"
    assert await artifacts.read(kept.uri) == body
    assert await artifacts.size(kept.uri) == len(body)
    assert await artifacts.read_piece(kept.uri, 2, 4) == b"rows"


async def test_equal_bytes_of_a_run_are_one_artifact(artifacts: Artifacts) -> None:
    first, second = await artifacts.put("run-1", b"same"), await artifacts.put("run-1", b"same", "text/plain")
    assert (first.uri, second.content_type) == (second.uri, "text/plain")


async def test_a_copy_belongs_to_the_other_run(artifacts: Artifacts) -> None:
    kept = await artifacts.put("run-1", b"body", "text/plain")
    copied = await artifacts.copy(kept, "run-2")
    await artifacts.delete_run("run-1")
    assert (copied.sha256, copied.content_type) == (kept.sha256, "text/plain")
    assert await artifacts.read(copied.uri) == b"body"
    with pytest.raises(ArtifactNotFound):
        await artifacts.read(kept.uri)


async def test_deleting_a_run_takes_its_artifacts_and_no_others(artifacts: Artifacts) -> None:
    kept = [await artifacts.put(f"run-{number}", b"body") for number in (1, 1, 12)]
    assert sorted(await artifacts.runs()) == ["run-1", "run-12"]
    await artifacts.delete_run("run-1")
    await artifacts.delete_run("run-1")
    assert await artifacts.runs() == ["run-12"]
    assert await artifacts.read(kept[2].uri) == b"body"


async def test_what_is_not_there_has_a_name(artifacts: Artifacts) -> None:
    uri = f"weftline:run-1/{SHA}"
    for read in (artifacts.read(uri), artifacts.size(uri), artifacts.read_piece(uri, 0, 1)):
        with pytest.raises(ArtifactNotFound, match="run-1"):
            await read


async def test_a_damaged_artifact_is_not_given(artifacts: Artifacts, files: Files) -> None:
    kept = await artifacts.put("run-1", b"body")
    await files.write(f"runs/run-1/{kept.sha256}", b"other")
    with pytest.raises(ArtifactDamaged):
        await artifacts.read(kept.uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "weftline:",
        f"weftline:run/{SHA[1:]}",
        f"weftline:run/{SHA}0",
        f"weftline:run/{SHA}\n",
        f"weftline:../{SHA}",
        f"weftline:a/../{SHA}",
        f"weftline:/{SHA}",
        f"weftline:run/../run/{SHA}",
        f"weftline:.hidden/{SHA}",
        f"weftline:a%2fb/{SHA}",
        f"weftline:{'r' * 65}/{SHA}",
        f"weftline:run/{SHA.upper().replace('0', 'A')}",
        f"file:///run/{SHA}",
        f"s3://run/{SHA}",
        f"run/{SHA}",
    ],
)
def test_only_a_strict_name_is_one(uri: str) -> None:
    with pytest.raises(ArtifactNameInvalid):
        check_uri(uri)


async def test_a_run_that_is_no_folder_name_gets_no_artifact_and_deletes_none(artifacts: Artifacts) -> None:
    await artifacts.put("run-1", b"body")
    for run_id in ("", ".", "..", "a/b", "a\\b", "run\n", "-rf"):
        with pytest.raises(ArtifactNameInvalid):
            await artifacts.put(run_id, b"x")
        with pytest.raises(ArtifactNameInvalid):
            await artifacts.delete_run(run_id)
    assert await artifacts.runs() == ["run-1"]


@given(st.text())
def test_no_text_leads_out_of_the_folder(text: str) -> None:
    try:
        check_uri(text)
    except ArtifactNameInvalid:
        return
    assert not {"..", "\\", "\0"} & set(text.split("/"))


async def test_what_is_in_the_place_but_no_run_is_left_alone(artifacts: Artifacts, files: Files) -> None:
    await files.write("runs/.hidden/x", b"x")
    await artifacts.put("run-1", b"x")
    assert await artifacts.runs() == ["run-1"]
