// Loads the PeerTube plugin as PeerTube does and calls every hook it registers with one file.
// node peertube_stand.js PLUGIN FILE SETTINGS-AS-JSON → JSON: hook → its answer.
const [plugin, file, settings] = process.argv.slice(2);
const given = JSON.parse(settings);
const handlers = {};
const log = { error() {}, info() {} };
await (await import(plugin)).default.register({
  registerHook: ({ target, handler }) => { handlers[target] = handler; },
  registerSetting: ({ name, default: value }) => { given[name] ??= value; },
  settingsManager: { getSettings: async (names) => Object.fromEntries(names.map((n) => [n, given[n]])) },
  peertubeHelpers: { logger: log },
});
const answers = {};
for (const [target, handler] of Object.entries(handlers)) {
  // server/core/lib/job-queue/handlers/video-import.ts, …/controllers/api/videos/upload.ts
  const params = target.includes("post-import")
    ? { videoFilePath: file, videoFile: { size: 1 }, user: {} }
    : { videoBody: {}, videoFile: { path: file, size: 1 }, user: {} };
  answers[target] = await handler({ accepted: true }, params);
}
console.log(JSON.stringify(answers));
