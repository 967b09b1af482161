// Deck's only script. Every page works without it: it keeps times and lists current, opens gaps in logs in place and
// follows running logs. All HTML that it puts into a page comes from this Deck, escaped by the server.
"use strict";
(() => {
  const visible = () => document.visibilityState === "visible";

  // Times -----------------------------------------------------------------------------------------------------------
  const ago = (seconds) => {
    const s = Math.abs(seconds);
    const text = s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min`
      : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
    return seconds >= 0 ? `${text} ago` : `in ${text}`;
  };
  const duration = (seconds) => {
    const s = Math.max(0, Math.floor(seconds));
    const two = (n) => String(n).padStart(2, "0");
    return s >= 3600 ? `${Math.floor(s / 3600)}h ${two(Math.floor(s % 3600 / 60))}m`
      : s >= 60 ? `${Math.floor(s / 60)}m ${two(s % 60)}s` : `${s}s`;
  };
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const tick = () => {
    const now = Date.now() / 1000;
    for (const time of document.querySelectorAll("time[datetime]")) put(time, ago(now - Date.parse(time.dateTime) / 1000));
    for (const running of document.querySelectorAll("[data-since]")) put(running, duration(now - Number(running.dataset.since)));
  };
  tick();
  setInterval(() => visible() && tick(), 1000);

  // The list --------------------------------------------------------------------------------------------------------
  const jobs = document.querySelector("#jobs[data-refresh]");
  if (jobs) {
    let etag = "";
    let failures = 0;
    const refresh = async () => {
      try {
        const answer = await fetch(jobs.dataset.refresh, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
        failures = 0;
        if (answer.status === 200) {
          const html = await answer.text();
          // A selection or a focused link would be lost: the next round brings the change.
          const selected = !document.getSelection().isCollapsed;
          if (!selected && !jobs.contains(document.activeElement)) {
            etag = answer.headers.get("ETag") || "";
            jobs.innerHTML = html;
            tick();
          }
        }
      } catch { failures += 1; }
    };
    const again = () => setTimeout(async () => { if (visible()) await refresh(); again(); }, Math.min(60, 5 * 2 ** failures) * 1000);
    again();
    document.addEventListener("visibilitychange", () => visible() && refresh());
  }
  const filters = document.querySelector("form.filters");
  if (filters) {
    filters.addEventListener("submit", () => {
      // Short addresses: what is not asked for is not sent.
      for (const field of filters.elements) if (field.name && !field.value) field.disabled = true;
    });
    for (const select of filters.querySelectorAll("select")) select.addEventListener("change", () => filters.requestSubmit());
    window.addEventListener("pageshow", () => { for (const field of filters.elements) field.disabled = false; });
  }

  // Logs ------------------------------------------------------------------------------------------------------------
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-fetch]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    const gap = link.closest(".gap");
    gap.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(link.dataset.fetch);
      if (!answer.ok) throw new Error(String(answer.status));
      const template = document.createElement("template");
      template.innerHTML = await answer.text();
      const first = template.content.querySelector(".l .n");
      gap.replaceWith(template.content);
      if (first) first.focus({ preventScroll: true });
    } catch { location.assign(link.href); }
  });
  const lines = document.querySelector(".lines");
  const toHash = () => {
    const wanted = /^#L(\d+)$/.exec(location.hash);
    if (wanted && lines && lines.dataset.page && !document.getElementById(location.hash.slice(1))) {
      const target = `${lines.dataset.page}line=${wanted[1]}`;
      if (new URL(target, location.href).search !== location.search) location.assign(target + location.hash);
    }
  };
  toHash();
  window.addEventListener("hashchange", toHash);
  if (document.querySelector("[data-indexing]")) setTimeout(() => location.reload(), 2500);

  const live = document.querySelector(".lines[data-live]");
  const running = document.querySelector(".run[data-running]");
  if (live) {
    let pause = 2;
    const follow = async () => {
      const at = live.lastElementChild;
      if (at.dataset.done) {
        if (running) location.reload();
        return;
      }
      if (visible()) {
        try {
          const answer = await fetch(`${live.dataset.live}&offset=${at.dataset.offset}&line=${at.dataset.line}`);
          if (answer.ok) {
            const template = document.createElement("template");
            template.innerHTML = await answer.text();
            const next = template.content.firstElementChild;
            const end = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 40;
            if (next.dataset.offset !== at.dataset.offset || next.dataset.done) {
              if (at.querySelector(".waiting")) at.replaceChildren();
              live.append(next);
              if (end) window.scrollTo({ top: document.documentElement.scrollHeight });
              pause = 2;
            } else { pause = Math.min(10, pause * 1.3); }
          }
        } catch { pause = Math.min(30, pause * 2); }
      }
      setTimeout(follow, pause * 1000);
    };
    setTimeout(follow, 1000);
  } else if (running) {
    const reload = () => setTimeout(() => (visible() ? location.reload() : reload()), 10000);
    reload();
  }

  // Keys ------------------------------------------------------------------------------------------------------------
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "/" && filters) {
      event.preventDefault();
      filters.querySelector("input").focus();
    } else if ((event.key === "n" || event.key === "p") && lines) {
      const hits = [...lines.querySelectorAll(".hit .n")];
      const middle = window.innerHeight / 2;
      const behind = hits.filter((hit) => hit.getBoundingClientRect().top > middle + 2);
      const before = hits.filter((hit) => hit.getBoundingClientRect().top < middle - 22);
      const next = event.key === "n" ? behind[0] : before[before.length - 1];
      if (next) { next.scrollIntoView({ block: "center" }); next.focus({ preventScroll: true }); }
    }
  });
})();
