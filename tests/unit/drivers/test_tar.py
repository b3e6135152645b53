"""Files in one tar."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from dayfly.drivers.interfaces import File
from dayfly.drivers.tar import archive

_NAME = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60
)


@given(
    path=st.lists(_NAME, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts)),
    content=st.binary(max_size=2000),
    mode=st.sampled_from([0o600, 0o644, 0o755, 0o400]),
)
def test_what_goes_in_comes_out_and_belongs_to_root(path: str, content: bytes, mode: int) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive([File(path, content, mode)]))) as tar:
        (entry,) = tar.getmembers()
        file = tar.extractfile(entry)
        assert file is not None
        assert f"/{entry.name}" == path.rstrip("/")
        assert (file.read(), entry.mode, entry.uid, entry.gid) == (content, mode, 0, 0)


def test_content_is_not_shown() -> None:
    assert "hidden" not in repr(File("/x", b"hidden"))
