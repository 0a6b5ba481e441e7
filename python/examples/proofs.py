"""Proofs: what this controller knows of a host, the line that other controllers believe, and somebody's word.

python3 proofs.py HOST NAME [CONFIG]
"""

from __future__ import annotations

import sys

from nova_ext import FenceProof, errors


def main(host: str, name: str, config: str | None = None) -> int:
    proof = FenceProof.current(host, config)
    if proof is None:
        try:
            proof = FenceProof.confirm(host, name, config)
        except errors.NotProven as error:
            print(f"not proven: {error}")
            return 1
    print(proof)
    line = proof.sign(config)
    print(f"for others: {line}")
    assert FenceProof.verify(host, line, config).id == proof.id
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
