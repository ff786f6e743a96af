// Talking to the server.

function headers() {
  const key = document.getElementById("key").value;
  return key ? { "X-API-Key": key } : {};
}

async function checked(response) {
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({ detail: response.statusText }));
  const words = Array.isArray(detail) ? detail.map((item) => `${item.loc.slice(1).join(".")}: ${item.msg}`).join("\n") : detail;
  throw new Error(`${response.status}: ${words}`);
}

export async function getJSON(path) {
  return (await checked(await fetch(path, { headers: headers() }))).json();
}

export async function infer(capability, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json", ...headers() }, body: JSON.stringify(body) };
  return (await checked(await fetch(`/inference/${capability}/`, options))).json();
}

// Yields the objects of a stream, one a line; throws what the server says went wrong.
export async function* stream(capability, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json", ...headers() }, body: JSON.stringify(body) };
  const response = await checked(await fetch(`/inference/${capability}/stream`, options));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) {
      const message = JSON.parse(line);
      if (message.error) throw new Error(`${message.error.status}: ${message.error.detail}`);
      yield message;
    }
  }
}
