// What the page asks the server for. Writes carry a header that no other page can send.

const WRITE = { "X-Latentmix": "1" };

async function answered(response) {
  if (response.ok) return response;
  const text = await response.text();
  let said = text.trim();
  try {
    said = JSON.parse(text).error ?? said;
  } catch {
    // It was a sentence already.
  }
  throw new Error(said || `The server answered with ${response.status}.`);
}

let inFlight = 0;
const count = (by) => {
  inFlight += by;
  document.body.classList.toggle("busy", inFlight > 0);
};

const asked = async (path, options) => {
  count(1);
  try {
    return await answered(await fetch(path, options));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Error("The server does not answer. Start it again; all names are kept.");
  } finally {
    count(-1);
  }
};

export const get = (path) => asked(path);
export const getJson = async (path) => (await get(path)).json();
export const getBytes = async (path) => (await get(path)).arrayBuffer();

export const post = (path, body) =>
  asked(path, {
    method: "POST",
    headers: { ...WRITE, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
export const postJson = async (path, body) => (await post(path, body)).json();
export const postFile = async (path, file) =>
  (await asked(path, { method: "POST", headers: WRITE, body: file })).json();

/** Offer bytes as a file to keep. */
export function offer(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
