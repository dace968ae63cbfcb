"""The port's names: one-to-one with the official ones, for every variant."""

import json

import pytest
from weight_files import DATA, classifier_state, port_names

from casvit_dense.casvit import ARCHS
from casvit_dense.checkpoint.formats import official_name


def test_the_whole_list_of_the_port_for_xs():
    listed = json.loads((DATA / "mmpretrain_names_xs.json").read_text())
    assert len(listed) == 524
    assert {port: official_name(port) for port in listed.values()} == {
        port: official for official, port in listed.items()
    }


@pytest.mark.parametrize("arch", ARCHS)
def test_one_to_one_for_every_variant(arch):
    official = list(classifier_state(arch))
    ported = port_names(official)
    assert len(set(ported.values())) == len(official)
    assert [official_name(ported[name]) for name in official] == official
