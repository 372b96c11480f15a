"""A Ray cluster of two nodes, one of which dies while a catalogue is scanned.

Run in a network namespace of its own: `python tests/ray_cluster.py DIR FILE…`.
"""

import fcntl
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np


def bring_up_loopback() -> None:
    """A new namespace's loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # SIOCSIFFLAGS with IFF_UP | IFF_RUNNING (netdevice(7)).
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))


def main(directory: Path, files: list[str]) -> None:
    """Scan with two nodes, kill one once the first part is done, print what was found."""
    bring_up_loopback()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    from unspread.platform_kit import catalogue_files

    slow_scan = catalogue_files.scan

    def scan(part, listings, radius_bits):  # type: ignore[no-untyped-def]
        # Long enough that some parts are under way on the node when it dies.
        time.sleep(0.3)
        return slow_scan(part, listings, radius_bits)

    catalogue_files.scan = scan
    args = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=args)
    second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    listings = np.load(directory / "listings.npy")
    run = catalogue_files.on_ray(cluster.address)
    parts = catalogue_files.parts_of(files)
    hits, killed = [], False
    for _, found in run(parts, listings, 31):
        hits += [[hit.reference, hit.listing, hit.distance_bits] for hit in found]
        if not killed:
            cluster.remove_node(second, allow_graceful=False)
            killed = True
    cluster.shutdown()
    print(json.dumps({"killed": killed, "hits": hits}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
