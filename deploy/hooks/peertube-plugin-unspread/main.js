// @ts-check
"use strict";
// A PeerTube plugin: every upload, import and replaced file is scanned by an Unspread platform kit.
// Hooks: PeerTube, packages/models/src/plugins/server/server-hook.model.ts. Needs Node 20 or later.

const fs = require("node:fs");

/** @type {import("@peertube/peertube-types").ServerHookName[]} Hooks whose handler may refuse; the file is at `videoFilePath` after imports, else `videoFile`. */
const HOOKS = [
  "filter:api.video.upload.accept.result",
  "filter:api.video.update-file.accept.result",
  "filter:api.video.post-import-url.accept.result",
  "filter:api.video.post-import-torrent.accept.result",
  "filter:api.video.user-import.accept.result",
];

const REFUSED = "This video cannot be published here: it matches a video that somebody asked to be "
  + "protected, or it cannot be read.";
const NOT_CHECKED = "The check of videos is not available. Try again later.";

/** What an HTTP status of /scan means. @param {number} status */
function outcome(status) {
  if (status >= 200 && status < 300) return "keep";
  return [406, 409, 422].includes(status) ? "refuse" : "not checked";
}

/** The status of the kit's answer about a file, 0 if there was none.
 * @param {string} url @param {string} key @param {string} path */
async function scan(url, key, path, timeoutSeconds = 300) {
  try {
    const response = await fetch(`${url.replace(/\/+$/, "")}/scan`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/octet-stream" },
      body: await fs.openAsBlob(path),
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    });
    await response.body?.cancel();
    return response.status;
  } catch {
    return 0;
  }
}

/** @param {import("@peertube/peertube-types").RegisterServerOptions} options */
async function register({ registerHook, registerSetting, settingsManager, peertubeHelpers }) {
  registerSetting({ name: "url", label: "Address of the platform kit", type: "input",
    private: true, default: "http://127.0.0.1:8080" });
  registerSetting({ name: "key", label: "Key of the platform kit that may scan",
    type: "input-password", private: true, default: "" });
  registerSetting({ name: "accept-unchecked", label: "Publish what could not be checked",
    type: "input-checkbox", private: true, default: false });

  for (const target of HOOKS) {
    registerHook({
      target,
      // PeerTube's types know nothing of what handlers are given.
      handler: /** @type {any} */ (async (/** @type {any} */ result, /** @type {any} */ params) => {
        if (!result.accepted) return result;
        const settings = await settingsManager.getSettings(["url", "key", "accept-unchecked"]);
        const path = params.videoFilePath ?? params.videoFile?.path;
        const found = path ? outcome(await scan(`${settings.url}`, `${settings.key}`, path)) : "not checked";
        if (found === "keep") return result;
        if (found === "refuse") return { accepted: false, errorMessage: REFUSED };
        peertubeHelpers.logger.error("unspread: a video was not checked");
        return settings["accept-unchecked"] ? result
          : { accepted: false, errorMessage: NOT_CHECKED };
      }),
    });
  }
}

async function unregister() {}

module.exports = { register, unregister };
