// Signs in or registers with a passkey, then sends the answer as an ordinary form.
// The server's options and the authenticator's answer are WebAuthn Level 3's JSON forms.

const form = document.querySelector("form[data-ceremony]");
const problem = document.querySelector("#problem");

/** @param {string} text base64url */
function bytes(text) {
  const padded = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(padded), (letter) => letter.charCodeAt(0));
}

/** @param {ArrayBuffer} buffer */
function text(buffer) {
  const letters = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {any} options */
function withBytes(options) {
  const made = { ...options, challenge: bytes(options.challenge) };
  if (options.user) made.user = { ...options.user, id: bytes(options.user.id) };
  for (const name of ["allowCredentials", "excludeCredentials"]) {
    made[name] = (options[name] ?? []).map((each) => ({ ...each, id: bytes(each.id) }));
  }
  return made;
}

/** @param {any} credential */
function asJson(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    const value = credential.response[name];
    if (value) response[name] = text(value);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: {},
  });
}

form.addEventListener("submit", async (event) => {
  if (form.elements.answer.value) return;
  event.preventDefault();
  try {
    const publicKey = withBytes(JSON.parse(form.dataset.options));
    const credential =
      form.dataset.ceremony === "create"
        ? await navigator.credentials.create({ publicKey })
        : await navigator.credentials.get({ publicKey });
    form.elements.answer.value = asJson(credential);
    form.submit();
  } catch (error) {
    problem.textContent = `It did not work (${error.name}). Try again.`;
  }
});
