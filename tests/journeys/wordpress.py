"""A WordPress from Debian, on a MariaDB of its own, with our plugin in it."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.journeys.conftest import free_port
from tests.journeys.debian import installed

PLUGIN = Path(__file__).parents[2] / "deploy" / "hooks" / "wordpress" / "unspread"
INSTALLED = Path("/usr/share/wordpress")
PACKAGES = ("wordpress", "mariadb-server", "php-cli", "php-mysql", "php-gd")

CONFIG = """<?php
define( 'DB_NAME', 'wordpress' );
define( 'DB_USER', 'root' );
define( 'DB_PASSWORD', '' );
define( 'DB_HOST', 'localhost:{socket}' );
define( 'DB_CHARSET', 'utf8mb4' );
define( 'DB_COLLATE', '' );
define( 'WP_HTTP_BLOCK_EXTERNAL', true );
define( 'WP_ACCESSIBLE_HOSTS', 'localhost,127.0.0.1' );
define( 'DISABLE_WP_CRON', true );
define( 'WP_ENVIRONMENT_TYPE', 'local' );
$table_prefix = 'wp_';
{ours}
/* That's all, stop editing! */
if ( ! defined( 'ABSPATH' ) ) define( 'ABSPATH', __DIR__ . '/' );
require_once ABSPATH . 'wp-settings.php';
"""

# What the installer's pages and `wp plugin activate unspread` do, by WordPress' own functions.
SETUP = """<?php
define( 'WP_INSTALLING', true );
$_SERVER['HTTP_HOST'] = '{host}';
require_once '{root}/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
require_once ABSPATH . 'wp-admin/includes/plugin.php';
$made = wp_install( 'Forum', 'ann', 'ann@forum.example', true, '', 'a password' );
update_option( 'siteurl', '{url}' );
update_option( 'home', '{url}' );
$failed = activate_plugin( 'unspread/unspread.php' );
list( $password ) = WP_Application_Passwords::create_new_application_password(
	$made['user_id'], array( 'name' => 'test' )
);
echo "\\n" . json_encode( array(
	'failed'   => is_wp_error( $failed ) ? $failed->get_error_message() : '',
	'active'   => get_option( 'active_plugins' ),
	'password' => $password,
) );
"""


class WordPress:
    """One that runs."""

    def __init__(self, url: str, password: str, root: Path) -> None:
        self._client = httpx.Client(base_url=url, auth=("ann", password), timeout=120)
        self._root = root

    def upload(self, content: bytes, name: str = "flower.jpg") -> httpx.Response:
        """A file of a form, as the media library sends it (`wp_handle_upload`)."""
        return self._client.post("/", params=_MEDIA, files={"file": (name, content, "image/jpeg")})

    def sideload(self, content: bytes, name: str = "tree.jpg") -> httpx.Response:
        """A file as the body of a request, as apps send it (`wp_handle_sideload`)."""
        headers = {
            "content-type": "image/jpeg",
            "content-disposition": f"attachment; filename={name}",
        }
        return self._client.post("/", params=_MEDIA, content=content, headers=headers)

    def library(self) -> list[str]:
        """Titles of everything in the media library."""
        listed = self._client.get("/", params=_MEDIA).json()
        return sorted(each["title"]["rendered"] for each in listed)

    def stored(self) -> list[bytes]:
        """Every file that was kept."""
        uploads = self._root / "wp-content" / "uploads"
        return [path.read_bytes() for path in uploads.rglob("*") if path.is_file()]

    def close(self) -> None:
        self._client.close()


_MEDIA = {"rest_route": "/wp/v2/media"}


@contextmanager
def running_wordpress(directory: Path, ours: str) -> Iterator[WordPress]:
    """A fresh one. `ours`: what docs/platform/wordpress.md has put into wp-config.php."""
    php = installed("php", *PACKAGES)
    installed("wp-setup", *PACKAGES)
    root = directory / "wordpress"
    shutil.copytree(INSTALLED, root, ignore_dangling_symlinks=True)
    uploads = root / "wp-content" / "uploads"
    shutil.rmtree(uploads, ignore_errors=True)
    uploads.mkdir(parents=True)
    shutil.copytree(PLUGIN, root / "wp-content" / "plugins" / "unspread")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running_mariadb(directory) as socket:
        (root / "wp-config.php").write_text(CONFIG.format(socket=socket, ours=ours))
        setup = directory / "setup.php"
        setup.write_text(SETUP.format(root=root, url=url, host=url.removeprefix("http://")))
        done = subprocess.run(
            [php, setup], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        made = json.loads(done.stdout.splitlines()[-1])
        assert made["active"] == ["unspread/unspread.php"], made
        with (directory / "php.log").open("wb") as log:
            serve = [php, "-d", "memory_limit=256M", "-S", f"127.0.0.1:{port}", "-t", root]
            process = subprocess.Popen(serve, stdout=log, stderr=log, cwd=root)
            wordpress = WordPress(url, made["password"], root)
            try:
                _until_up(process, url)
                yield wordpress
            finally:
                wordpress.close()
                process.terminate()
                process.wait(60)


@contextmanager
def running_mariadb(directory: Path) -> Iterator[Path]:
    """A MariaDB without a network; its socket."""
    server = installed("mariadbd", *PACKAGES)
    data, socket = directory / "mariadb", directory / "mariadb.sock"
    common = ["--no-defaults", f"--datadir={data}", "--user=root"]
    make = [installed("mariadb-install-db", *PACKAGES), *common]
    make.append("--auth-root-authentication-method=normal")
    subprocess.run(make, check=True, capture_output=True, timeout=300)
    command = [server, *common, f"--socket={socket}", "--skip-networking"]
    with (directory / "mariadb.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        client = [installed("mariadb", *PACKAGES), "--no-defaults", "-u", "root", f"-S{socket}"]
        try:
            deadline = time.monotonic() + 120
            create = [*client, "-e", "CREATE DATABASE wordpress"]
            while subprocess.run(create, capture_output=True, check=False).returncode:
                assert process.poll() is None, (directory / "mariadb.log").read_text()[-2000:]
                assert time.monotonic() < deadline, "MariaDB does not come up"
                time.sleep(0.2)
            yield socket
        finally:
            process.terminate()
            process.wait(60)


def _until_up(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "PHP's server ended"
        assert time.monotonic() < deadline, "WordPress does not come up"
        try:
            httpx.get(url, timeout=30)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
