"""The template and the table of the Acme T100 belong together."""

from acme_t100 import FAMILY

from ioc.site.contract import contract_mistakes


def test_the_records_are_those_of_the_driver():
    assert contract_mistakes(FAMILY) == []
