"""The clients of the nodes of a cluster: one a node, each of which is closed."""

from busredis.cluster import Nodes
from busredis.commands import Request
from busredis.url import parse_servers


class Node:
    def __init__(self) -> None:
        self.runs, self.closed = 0, False

    def run(self, _flow) -> None:
        self.runs += 1

    def close(self) -> None:
        self.closed = True


def test_threads_that_need_a_node_at_once_share_its_client_and_no_other_is_used():
    made = []
    step = ("127.0.0.1:7", Request((("PING",),)))

    def make(_url: str) -> Node:
        node = Node()
        made.append(node)
        if len(made) == 1:
            nodes._run(step)  # as another thread does meanwhile
        return node

    nodes = Nodes(parse_servers("redis+cluster://127.0.0.1:7"), make)
    nodes._run(step)
    nodes.close()

    assert [node.runs for node in made if node.runs] == [2]
    assert [node.closed for node in made if node.runs] == [True]
