// @ts-check
// Passkeys: asks the server what to sign, the device to sign it, and hands the answer back.

const say = /** @type {HTMLElement} */ (document.getElementById("say"));

/** @param {string} path @param {unknown} body */
async function post(path, body) {
  const response = await fetch(path, {
    method: "POST", credentials: "same-origin",
    headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

/** @param {() => Promise<void>} work */
async function attempt(work) {
  try {
    await work();
    location.replace("/review");
  } catch (error) {
    say.textContent = error instanceof Error && error.name !== "NotAllowedError"
      ? error.message : "That was not completed. Try again.";
    say.className = "error";
  }
}

const use = /** @type {HTMLButtonElement} */ (document.getElementById("use"));
use.addEventListener("click", () => attempt(async () => {
  const options = await post("/review/passkey/use-options", {});
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const made = /** @type {PublicKeyCredential} */ (await navigator.credentials.get({ publicKey }));
  await post("/review/passkey/use", made.toJSON());
}));

const join = /** @type {HTMLFormElement} */ (document.getElementById("join"));
join.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = /** @type {HTMLInputElement} */ (document.getElementById("invitation"));
  const invitation = field.value.trim();
  attempt(async () => {
    const options = await post("/review/passkey/make-options", { invitation });
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    const made = /** @type {PublicKeyCredential} */ (await navigator.credentials.create({ publicKey }));
    await post("/review/passkey/make", { invitation, credential: made.toJSON() });
  });
});

if (window.PublicKeyCredential && "parseRequestOptionsFromJSON" in PublicKeyCredential) {
  for (const button of document.querySelectorAll("button")) button.disabled = false;
} else {
  say.textContent = "This browser has no passkeys. Use a current one, at the address the operator gave.";
  say.className = "error";
}

export {};
