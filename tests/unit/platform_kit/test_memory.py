"""What a server that decides in milliseconds has no need to hold in memory."""

import subprocess
import sys

DECODERS = ("PIL", "av", "imagecodecs", "pillow_heif", "simplejpeg")
ON_REQUEST = ("boto3", "obstore", "opentelemetry", "psycopg", "pyarrow", "webauthn")


def test_the_server_itself_loads_no_decoder():
    """Strangers' files meet decoders in confined workers alone, and those cost 30 MB besides."""
    program = "import sys; import unspread.platform_kit.app; print(' '.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "unspread.platform_kit.scanner" in loaded
    assert [name for name in (*DECODERS, *ON_REQUEST) if name in loaded] == []
