"use strict";
/* Where records come from: the sidecar's feed, or the data in a report. */

Seism.token = () => sessionStorage.getItem("seism-token") || "";

Seism.call = async (method, path, body) => {
  const headers = {};
  if (Seism.token()) headers.Authorization = `Bearer ${Seism.token()}`;
  const response = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) throw new Seism.Unauthorized();
  if (response.status === 204) return null;
  const text = await response.text();
  let values = null;
  try { values = JSON.parse(text); } catch { /* said below */ }
  if (!response.ok) throw new Error((values && values.error) || `${response.status}`);
  return values;
};

Seism.Unauthorized = class extends Error {};

/* Server-sent events by fetch, since an EventSource can't send a token. Goes on where it stopped. */
Seism.Feed = class {
  constructor(take, state) {
    this.take = take; // (kind, record)
    this.state = state; // ("live" | "away" | "token", text)
    this.id = "";
    this.wait = 250;
  }

  async run() {
    for (;;) {
      try {
        await this.read();
        this.state("away", "the sidecar ended the stream");
      } catch (error) {
        if (error instanceof Seism.Unauthorized) {
          this.state("token", "a token is needed");
          return;
        }
        this.state("away", "the sidecar is away, trying again");
      }
      await new Promise((done) => setTimeout(done, this.wait));
      this.wait = Math.min(this.wait * 2, 4000);
    }
  }

  async read() {
    const query = new URLSearchParams({
      topics: "perturbations,observations,attributions,opinions,harms,changes", since: "start",
    });
    if (this.id) query.set("last_event_id", this.id);
    const headers = { Accept: "text/event-stream" };
    if (Seism.token()) headers.Authorization = `Bearer ${Seism.token()}`;
    const response = await fetch(`/seism/events?${query}`, { headers });
    if (response.status === 401) throw new Seism.Unauthorized();
    if (!response.ok) throw new Error(String(response.status));
    this.wait = 250;
    this.state("live", "live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) this.event(event);
    }
  }

  event(text) {
    let kind = "", data = "", id = "";
    for (const line of text.split("\n")) {
      if (line.startsWith("data: ")) data += line.slice(6);
      else if (line.startsWith("event: ")) kind = line.slice(7);
      else if (line.startsWith("id: ")) id = line.slice(4);
    }
    if (!kind) return; // a heartbeat
    if (id) this.id = id;
    this.take(kind, JSON.parse(data));
  }
};
