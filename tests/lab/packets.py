# SPDX-License-Identifier: Apache-2.0
"""Counts the UDP packets to and from an address and port in a network namespace: packets.py IP PORT, until stdin ends.

Prints "ready", then, for each line on stdin, a JSON object {local port: [sent, answered]}.
"""
import json
import select
import socket
import struct
import sys

ETH_P_ALL, UDP = 3, 17


def main():
    address, port = socket.inet_aton(sys.argv[1]), int(sys.argv[2])
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    seen = {}
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([s, sys.stdin], [], [])
        if s in readable:
            packet, about = s.recvfrom(65536)
            if about[1] == 0x0800:
                count(packet, address, port, seen)
        elif not sys.stdin.readline():
            return
        else:
            print(json.dumps(seen), flush=True)


def count(packet, address, port, seen):
    head = (packet[0] & 15) * 4
    if len(packet) < head + 8 or packet[9] != UDP or struct.unpack("!H", packet[6:8])[0] & 0x1FFF:
        return
    source, destination = struct.unpack("!HH", packet[head:head + 4])
    if packet[16:20] == address and destination == port:
        seen.setdefault(source, [0, 0])[0] += 1
    elif packet[12:16] == address and source == port:
        seen.setdefault(destination, [0, 0])[1] += 1


main()
