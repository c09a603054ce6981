"""Increments a key through a leader's death: python3 client.py PORT_OF_LEADER PORT..."""

import socket
import sys
import time

from redis.cluster import ClusterNode, RedisCluster

leader, *ports = map(int, sys.argv[1:])
client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports], socket_timeout=15)

client.mset({"{tag}a": 1, "{tag}b": 2})
assert client.mget("{tag}a", "{tag}b") == [b"1", b"2"]
with client.pipeline(transaction=True) as transaction:
    transaction.set("{tag}a", 5)
    transaction.incr("{tag}a")
    assert transaction.execute()[1] == 6
with client.pipeline() as pipeline:
    pipeline.set("one", 1)
    pipeline.get("two")
    assert pipeline.execute() == [True, None]
replicas = RedisCluster(
    startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports], read_from_replicas=True, socket_timeout=15
)
for number in range(10):
    client.set("seen", number)
    assert replicas.get("seen") == str(number).encode()


def is_dead():
    try:
        socket.create_connection(("127.0.0.1", leader), timeout=5).close()
        return False
    except OSError:
        return True


acknowledged = 0
deadline = time.monotonic() + 120


def add():
    global acknowledged
    try:
        client.incr("n")
        acknowledged += 1
    except Exception as error:
        print(repr(error), file=sys.stderr)
        if time.monotonic() > deadline:
            raise


while acknowledged < 100:
    add()
print("begun", flush=True)
while not is_dead():
    add()
wanted = acknowledged + 100
while acknowledged < wanted:
    add()
print(acknowledged, flush=True)
