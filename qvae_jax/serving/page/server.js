// What is asked of the server. Its token comes with the address, and leaves the address bar at once.

const KEPT_AS = "qvae-token";

/** What the server says is wrong, or that it does not answer, in words for the user. */
export class Refused extends Error {}

/** Reads the token that the address ends with, and keeps it for reloads of this tab. */
export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  sessionStorage.setItem(KEPT_AS, token);
  history.replaceState(null, "", location.pathname);
}

/** What the model is, and which values its settings may have. */
export const model = () => asked("api/model", {});

/** The sounds of a form's recordings: { sounds: [{ file, curves }], sample_rate_hz, notes }. */
export function sounds(form, parameters, signal) {
  const query = new URLSearchParams(parameters);
  return asked(`api/sound?${query}`, { method: "POST", body: form, signal });
}

/** The library's sounds that are nearest to a form's imitation: { nearest, unlike_everything }. */
export const nearest = (form) => asked("api/nearest", { method: "POST", body: form });

async function asked(path, options) {
  const token = sessionStorage.getItem(KEPT_AS) ?? "";
  const headers = { Accept: "application/json", Authorization: `Bearer ${token}` };
  let answer, found;
  try {
    answer = await fetch(path, { ...options, headers });
    found = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Start it again, and open the address that it prints.");
  }
  if (!answer.ok) throw new Refused(found.error);
  return found;
}
