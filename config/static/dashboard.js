"use strict";
/*
 * Refreshes the tiles of the admin's first page. It rests while the page is hidden or paused. Tiles are
 * changed in place, so that a focused link stays focused; only a change of the problem is announced.
 */
(() => {
  const TIMEOUT_MS = 10000;
  const section = document.getElementById("dashboard");
  const tiles = document.getElementById("dashboard-tiles");
  const problem = document.getElementById("dashboard-problem");
  const pause = document.getElementById("dashboard-pause");
  if (!section || !tiles || !problem || !pause) return;
  const refreshMs = Number(section.dataset.refreshSeconds) * 1000;
  let timer = 0;
  let isRunning = false;
  let isPaused = false;

  const rests = () => isPaused || document.hidden;

  const replace = (fragment) => {
    const now = new DOMParser().parseFromString(fragment, "text/html");
    const shown = tiles.querySelectorAll("li");
    const fresh = now.querySelectorAll(".tiles li");
    const isSame = shown.length === fresh.length && [...fresh].every((item, place) => item.id === shown[place].id);
    if (!isSame) {
      tiles.replaceChildren(...now.body.childNodes);
      return;
    }
    fresh.forEach((item, place) => {
      const link = shown[place].querySelector("a");
      const newer = item.querySelector("a");
      if (link.outerHTML === newer.outerHTML) return;
      link.className = newer.className;
      link.href = newer.getAttribute("href");
      link.replaceChildren(...newer.childNodes);
    });
    tiles.querySelector(".as-of").replaceChildren(...now.querySelector(".as-of").childNodes);
  };

  const say = (text) => {
    section.classList.toggle("outdated", text !== "");
    if (problem.textContent !== text) problem.textContent = text;
  };

  const reasonOf = async (response) => {
    if (response.type === "opaqueredirect") return "You are logged out. Reload the page to log in.";
    if (!response.headers.get("Content-Type")?.startsWith("application/problem+json")) {
      return `Not refreshed: the site replied with status ${response.status}.`;
    }
    return `Not refreshed: ${(await response.json()).detail}`;
  };

  const refresh = async () => {
    clearTimeout(timer);
    if (isRunning || rests()) return;
    isRunning = true;
    try {
      const response = await fetch(section.dataset.url, {
        redirect: "manual",
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (response.ok) {
        replace(await response.text());
        say("");
      } else {
        say(await reasonOf(response));
      }
    } catch {
      say("Not refreshed: the site does not answer.");
    } finally {
      isRunning = false;
      if (!rests()) timer = setTimeout(refresh, refreshMs);
    }
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  timer = setTimeout(refresh, refreshMs);
})();
