"""Compares the standards' vectors that we keep with copies that others publish.

    python -m tests.standard_vectors cryptography_vectors-50.0.2-py3-none-any.whl

takes the wheel of PyPI's `cryptography-vectors` and rewrites `vectors/rfc8032.json`,
`vectors/rfc9180.json` and `vectors/mldsa44.json` from it.
"""

import json
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "vectors"
_ED25519 = "cryptography_vectors/asymmetric/Ed25519/sign.input"
_HPKE = "cryptography_vectors/HPKE/test-vectors.json"
_ML_DSA = "cryptography_vectors/asymmetric/MLDSA/kat_MLDSA_44_det_pure.rsp"
_BASE, _X25519, _SHA256 = 0, 0x0020, 1
_AES_128_GCM, _AES_256_GCM = 1, 2


def _source(wheel: zipfile.ZipFile, name: str, standard: str) -> str:
    digest = sha256(wheel.read(name)).hexdigest()
    release = Path(str(wheel.filename)).name
    return f"{standard}; {name} (SHA-256 {digest}) in PyPI's {release}"


def ed25519(wheel: zipfile.ZipFile) -> dict[str, Any]:
    """TEST 1 to 3 of RFC 8032: the first lines of the file of Ed25519's authors."""
    lines = wheel.read(_ED25519).decode().splitlines()[:3]
    vectors = []
    for line in lines:
        secret, public, message, signed, _ = line.split(":")
        vectors.append({
            "seed": secret[:64], "public": public, "message": message, "signature": signed[:128],
        })  # fmt: skip
    return {"source": _source(wheel, _ED25519, "RFC 8032, section 7.1"), "vectors": vectors}


def hpke(wheel: zipfile.ZipFile) -> dict[str, Any]:
    """RFC 9180, A.1.1, and the same setting with AES-256-GCM, which is ours."""
    found = []
    for each in json.loads(wheel.read(_HPKE)):
        setting = each["mode"], each["kem_id"], each["kdf_id"], each["aead_id"]
        if setting not in {
            (_BASE, _X25519, _SHA256, _AES_128_GCM), (_BASE, _X25519, _SHA256, _AES_256_GCM),
        }:  # fmt: skip
            continue
        first = each["encryptions"][0]
        found.append({
            "aead_id": each["aead_id"],
            "info": each["info"], "ephemeral_secret": each["skEm"], "encapsulated": each["enc"],
            "recipient_public": each["pkRm"], "recipient_secret": each["skRm"],
            "shared_secret": each["shared_secret"], "key": each["key"],
            "base_nonce": each["base_nonce"], "plaintext": first["pt"],
            "associated": first["aad"], "ciphertext": first["ct"],
        })  # fmt: skip
    standard = "RFC 9180, appendix A.1.1, and its authors' vectors for AES-256-GCM"
    return {"source": _source(wheel, _HPKE, standard), "vectors": found}


def ml_dsa(wheel: zipfile.ZipFile) -> dict[str, Any]:
    """Keys from seeds. The known signatures are under contexts, and ours is empty."""
    found: list[dict[str, str]] = []
    for block in wheel.read(_ML_DSA).decode().split("\n\n")[:3]:
        fields = dict(line.split(" = ", 1) for line in block.splitlines() if " = " in line)
        found.append({"seed": fields["xi"], "public": fields["pk"]})
    return {"source": _source(wheel, _ML_DSA, "FIPS 204, ML-DSA-44"), "vectors": found}


def main(path: str) -> None:
    """Write the three files."""
    with zipfile.ZipFile(path) as wheel:
        for name, made in (
            ("rfc8032", ed25519(wheel)), ("rfc9180", hpke(wheel)), ("mldsa44", ml_dsa(wheel)),
        ):  # fmt: skip
            (VECTORS / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
