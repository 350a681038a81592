"""The Node example."""

from __future__ import annotations

import unittest

from tests.harness import Failed
from tests.words import TakesText


class Nodewords(TakesText, unittest.TestCase):
    name = "nodewords"
    language = "node"

    def test_a_host_of_another_version_is_told_which_one_works(self):
        with self.start() as plugin, self.assertRaises(Failed) as caught:
            plugin.call("initialize", versions=[2])
        self.assertEqual(caught.exception.code, -31008)
        self.assertEqual(caught.exception.data["supported"], [1])
