from __future__ import annotations

from tests.opendata.conftest import Warehouse


def test_the_release_holds_every_dataset(warehouse: Warehouse) -> None:
    outcome = warehouse.publish()
    print(outcome, *sorted(warehouse.files()), sep="\n")
    import shutil

    shutil.rmtree("/tmp/odroom/rel", ignore_errors=True)
    shutil.copytree(warehouse.current, "/tmp/odroom/rel")
    assert outcome.created
    again = warehouse.publish()
    print(again)
    assert not again.created
