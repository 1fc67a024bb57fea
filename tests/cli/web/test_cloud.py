"""The page and photos of a storage: pictures, originals, and objects that are gone or changed."""

from pathlib import Path

from indexer import Index
from tests.cli.web.conftest import Serve
from tests.cloud_fixtures import counting, failing, put_photo, storage_in_memory


def test_pictures_and_originals_of_objects(
    serve: Serve, tiny_checkpoint_path: Path, tmp_path: Path
) -> None:
    with storage_in_memory() as storage:
        for seed in range(3):
            put_photo(storage, f"b/p/{seed}.png", seed, tmp_path)
        with Index.open(tmp_path / "index.db", create=True, model=tiny_checkpoint_path) as index:
            index.add(["memory://b/p"])
            numbers = [index.show(f"memory://b/p/{seed}.png").photo_id for seed in range(3)]
        client = serve(database=str(tmp_path / "index.db"), thumbnails=tmp_path / "thumbnails")
        first, second, third = (f"/api/v1/photos/{number}" for number in numbers)
        assert "memory://b/p/0.png" in client.get(f"/photos/{numbers[0]}").text
        thumbnail = client.get(f"{first}/120.webp")
        assert thumbnail.headers["content-type"] == "image/webp"
        with counting("info") as asked, counting("_open") as read:
            assert client.get(f"{first}/120.webp").content == thumbnail.content
        assert asked == read == []  # it was kept
        original = client.get(f"{first}/original")
        assert original.content == (tmp_path / "0.png").read_bytes()
        assert "0.png" in original.headers["content-disposition"]

        put_photo(storage, "b/p/1.png", 11, tmp_path)
        storage.rm("/b/p/2.png")
        for url, code, said in ((second, 409, "was changed"), (third, 404, "No such file")):
            assert client.get(f"{url}/120.webp").status_code == 404
            answer = client.get(f"{url}/original")
            assert answer.status_code == code
            assert said in answer.text
        with failing("info", ConnectionError("cut")):
            assert "cannot be reached" in client.get(f"{second}/240.webp").text
            assert client.get(f"{second}/original").status_code == 404
