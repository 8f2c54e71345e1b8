import hashlib
import io
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recscale.data.download import Archive, fetch
from recscale.data.schema import DataError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def tarred(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path):
    """Serve bytes as a publisher would; the archive carries their true checksum."""
    site = tmp_path / "site"
    site.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def serve(content, name="log.zip"):
        (site / name).write_bytes(content)
        url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
        return Archive(url, hashlib.md5(content).hexdigest(), "log")

    yield serve
    server.shutdown()
    server.server_close()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def leftovers(root):
    return sorted(path.name for path in root.iterdir())


@pytest.mark.parametrize(("pack", "name"), [(zipped, "log.zip"), (tarred, "log.tar.gz")])
def test_a_published_archive_is_unpacked_whole(publish, root, pack, name):
    folder = fetch(publish(pack({"log/a.csv": "1", "log/data/b.csv": "2"}), name), root)
    assert folder == root / "log"
    assert (folder / "a.csv").read_text() == "1"
    assert (folder / "data" / "b.csv").read_text() == "2"
    assert (leftovers(root), leftovers(folder)) == (["log"], ["a.csv", "data"])


def test_another_checksum_is_refused_before_anything_is_unpacked(publish, root):
    archive = replace(publish(zipped({"log/a.csv": "1"})), md5="0" * 32)
    with pytest.raises(DataError, match=f"{archive.url}: md5 is .*, its publisher says 0000"):
        fetch(archive, root)
    assert leftovers(root) == []


def test_a_refused_connection_says_where_to_put_the_file(root):
    archive = Archive("http://127.0.0.1:9/log.zip", "0" * 32, "log")
    with pytest.raises(DataError) as error:
        fetch(archive, root)
    assert str(error.value).startswith("http://127.0.0.1:9/log.zip: download failed (")
    assert str(error.value).endswith(f"put it at {root / 'log.zip'}")
    assert "\n" not in str(error.value)
    assert leftovers(root) == []


def test_an_absent_page_is_a_failed_download(publish, root):
    archive = replace(publish(b""), url=publish(b"").url + ".gone")
    with pytest.raises(DataError, match="download failed"):
        fetch(archive, root)


def test_an_archive_put_there_by_hand_needs_no_network(root):
    content = zipped({"log/a.csv": "1"})
    root.mkdir()
    (root / "log.zip").write_bytes(content)
    archive = Archive("http://127.0.0.1:9/log.zip", hashlib.md5(content).hexdigest(), "log")
    assert (fetch(archive, root) / "a.csv").read_text() == "1"
    assert leftovers(root) == ["log", "log.zip"]


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../out.csv", "log/../../out.csv", "/recscale_out.csv"])
def test_members_that_would_land_outside_are_refused(publish, root, pack, name):
    served = "log.zip" if pack is zipped else "log.tar.gz"
    with pytest.raises(DataError):
        fetch(publish(pack({"log/a.csv": "1", name: "2"}), served), root)
    assert leftovers(root) == []
    assert not (root.parent / "out.csv").exists()


def test_an_archive_without_its_folder_or_that_is_none_is_refused(publish, root):
    with pytest.raises(DataError, match="no folder log in it"):
        fetch(publish(zipped({"other/a.csv": "1"})), root)
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch(publish(b"not a zip"), root)


def test_a_folder_with_other_files_is_left_alone(publish, root):
    (root / "log").mkdir(parents=True)
    with pytest.raises(DataError, match=r"lacks files of log\.zip"):
        fetch(publish(zipped({"log/a.csv": "1"})), root)
