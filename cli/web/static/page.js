// The page of dcsearch. All of it works without this file, which only makes it quicker to the hand:
// keys, scrolling on, boxes drawn with the pointer, pictures dropped or pasted, news of the index.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const keep = sessionStorage;
const field = $("#q");
const form = $("#ask");

document.documentElement.classList.add("lively");

// What went wrong, said at the top of the page.

const alarm = $("#alarm");

function say(sentence, again = null) {
  $("span", alarm).textContent = sentence;
  $("button", alarm).hidden = !again;
  $("button", alarm).onclick = again;
  alarm.hidden = !sentence;
}

async function request(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name !== "AbortError") {
      say("The server does not answer. Start it again with: dcsearch serve", () => location.reload());
    }
    throw error;
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    say(told.error ? `${told.error}.` : `The server answered with ${response.status}.`);
    throw new Error(response.status);
  }
  say("");
  return response;
}

// A page is left only for a server that answers: what was typed stays otherwise.
async function go(url) {
  try {
    await request("/ready");
    location.assign(url);
  } catch {}
}

// The form: only what is set goes into the address.

function address() {
  const pairs = new URLSearchParams();
  const given = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  const said = Object.fromEntries(given);
  for (const [name, value] of given) {
    const nothing =
      !value ||
      name.startsWith("related") ||
      (name === "together" && value === "photo") ||
      (name === "min_score" && value === $("#min_score").min);
    if (!nothing) pairs.append(name, value);
  }
  if (said.related_to) pairs.append(said.related, said.related_to);
  return pairs.size ? `/?${pairs}` : "/";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(address());
});

field.addEventListener("keydown", (event) => {
  const last = $$(".field .chip").at(-1);
  if (event.key === "Backspace" && !field.value && last) {
    event.preventDefault();
    const { name, value } = $("input", last);
    field.value = name === "like" ? "" : value;
    last.remove();
    if (name === "like") go(address());
  }
});

// The panel: every change asks again, and the panel stays open.

const refine = $("#refine");
const slider = $("#min_score");

function tellMeaning() {
  for (const line of $$(".meanings li")) line.classList.toggle("on", line.dataset.score === slider.value);
}

if (refine) {
  tellMeaning();
  slider.addEventListener("input", tellMeaning);
  refine.addEventListener("change", (event) => {
    if (event.target.name === "related" && !$("[name=related_to]").value.trim()) return;
    keep.refine = event.target.name;
    go(address());
  });
  refine.addEventListener("toggle", async () => {
    const found = $("#found");
    if (!refine.open) keep.removeItem("refine");
    else if (found && !found.dataset.told) {
      found.dataset.told = "1";
      const answer = await fetch(found.dataset.url).catch(() => null);
      if (answer?.ok) found.innerHTML = await answer.text();
    }
  });
  if (keep.refine) {
    refine.open = true;
    $(`[name="${keep.refine}"]${keep.refine === "together" ? ":checked" : ""}`, refine)?.focus();
  }
}

document.addEventListener("click", (event) => {
  for (const open of $$(".chip details[open]")) if (!open.contains(event.target)) open.open = false;
});

// Results: more of them when the end comes near, and arrows from photo to photo.

const tiles = $("ol.tiles");
const further = $(".further");

async function loadMore() {
  const link = $("a", further);
  if (!link || further.ariaBusy === "true") return;
  further.ariaBusy = "true";
  try {
    const url = new URL(link.href);
    const part = document.createElement("template");
    part.innerHTML = await (await request(`/more${url.search}`)).text();
    const next = $("[data-next]", part.content);
    const known = new Set($$(".tile", tiles).map((tile) => tile.dataset.id));
    for (const item of [...part.content.children]) {
      if (item !== next && !known.has(item.dataset.id)) tiles.append(item);
    }
    if (next) link.href = next.dataset.next;
    else further.remove();
    further.ariaBusy = "false";
    watch.unobserve(further);
    if (next) watch.observe(further); // tells again where the end is still near
  } catch {
    setTimeout(() => (further.ariaBusy = "false"), 2000);
  }
}

const watch = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && loadMore(),
  { rootMargin: "1500px" },
);
// Not before what is there is shown: the server is asked for more only then.
if (further && tiles) {
  if (document.readyState === "complete") watch.observe(further);
  else addEventListener("load", () => watch.observe(further), { once: true });
}

let column; // where the last steps up and down began, so that as many back end there

function stepTile(key) {
  const photos = $$(".tile .photo", tiles);
  const here = photos.indexOf(document.activeElement?.closest(".tile .photo"));
  if (here < 0) return photos[0];
  if (key === "ArrowLeft") return photos[here - 1];
  if (key === "ArrowRight") return photos[here + 1];
  const own = photos[here].getBoundingClientRect();
  const middle = column?.photo === photos[here] ? column.middle : own.left + own.width / 2;
  const down = key === "ArrowDown";
  let best;
  for (const photo of photos) {
    const box = photo.getBoundingClientRect();
    const apart = down ? box.top - own.bottom : own.top - box.bottom;
    if (apart < -1) continue;
    const distance = apart * 4 + Math.abs(box.left + box.width / 2 - middle);
    if (!best || distance < best.distance) best = { photo, distance };
  }
  if (best) column = { photo: best.photo, middle };
  return best?.photo;
}

tiles?.addEventListener("click", (event) => {
  if (event.target.closest(".photo")) keep.results = location.href;
});

addEventListener("pageshow", () => {
  const [entry] = performance.getEntriesByType("navigation");
  if (tiles && keep.seen && (entry?.type === "back_forward" || keep.results === location.href)) {
    $(`.tile[data-id="${keep.seen}"] .photo`, tiles)?.focus();
    keep.removeItem("seen");
  }
});

// Keys.

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches?.("input:not([type=file]), select, textarea");
  const arrow = event.key.startsWith("Arrow");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    field.focus();
    field.select();
  } else if (event.key === "Escape") {
    escape(event);
  } else if (arrow && tiles && (!typing || (event.target === field && event.key === "ArrowDown"))) {
    const photo = stepTile(event.key);
    if (!photo) return;
    event.preventDefault();
    photo.focus();
    photo.scrollIntoView({ block: "nearest" });
  } else if (arrow && stage && !typing) {
    const link = $(`.steps a[rel=${event.key === "ArrowLeft" ? "prev" : event.key === "ArrowRight" ? "next" : "none"}]`);
    if (!link) return;
    event.preventDefault();
    location.replace(link.href);
  }
});

function escape(event) {
  const menu = $(".chip details[open]") ?? (refine?.open ? refine : null);
  if (menu) {
    menu.open = false;
    $("summary", menu).focus();
  } else if (stage && forget()) {
    // the box that was drawn is gone
  } else if (event.target === field && field.value) {
    field.value = "";
  } else if ($("[data-back]")) {
    leave();
  } else {
    document.activeElement?.blur();
  }
}

function leave() {
  const back = $("[data-back]").href;
  if (keep.results === back && history.length > 1) history.back();
  else go(back);
}

// One photo: its regions under the pointer, and a box drawn on it.

const stage = $("#stage");
const drawing = stage && $("svg.spots", stage);

if (drawing) {
  keep.seen = stage.dataset.place;
  $("[data-back]")?.addEventListener("click", (event) => {
    event.preventDefault();
    leave();
  });
  const list = $(".spots-list");
  const point = (number, scroll) => {
    for (const each of $$("[data-spot].on")) each.classList.remove("on");
    stage.classList.toggle("pointing", number !== undefined);
    $(".tag:not(.act)", stage)?.remove();
    if (number === undefined) return;
    for (const each of $$(`[data-spot="${number}"]`)) each.classList.add("on");
    const item = $(`li[data-spot="${number}"]`, list);
    if (scroll && list.scrollHeight > list.clientHeight) list.scrollTop = item.offsetTop - list.offsetTop - list.clientHeight / 3;
    if (!$(".tag.act", stage)) show(tag(item.title), $(`rect[data-spot="${number}"]`, drawing).getBBox());
  };
  drawing.addEventListener("pointermove", (event) => {
    if (!drag) point(event.target.dataset.spot, true);
  });
  drawing.addEventListener("pointerleave", () => point());
  for (const name of ["pointerover", "focusin"]) {
    list?.addEventListener(name, (event) => point(event.target.closest("li")?.dataset.spot));
  }
  list?.addEventListener("pointerleave", () => point());

  let drag = null;
  const place = (event) => {
    const { width, height } = drawing.viewBox.baseVal;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    return { x: Math.min(Math.max(at.x, 0), width), y: Math.min(Math.max(at.y, 0), height) };
  };
  drawing.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    forget();
    drag = { from: place(event), spot: event.target.dataset.spot };
    drawing.setPointerCapture(event.pointerId);
  });
  drawing.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const { from } = drag;
    const to = place(event);
    drag.box = { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y), width: Math.abs(to.x - from.x), height: Math.abs(to.y - from.y) };
    if (!drag.rect) {
      drag.rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      drag.rect.classList.add("drawn");
      drawing.append(drag.rect);
      point();
    }
    for (const [name, value] of Object.entries(drag.box)) drag.rect.setAttribute(name, value);
  });
  drawing.addEventListener("pointercancel", () => {
    drag = null;
    forget();
  });
  drawing.addEventListener("pointerup", () => {
    const { box, spot } = drag ?? {};
    drag = null;
    const least = drawing.viewBox.baseVal.width / 60;
    if (box && box.width > least && box.height > least) offer(box);
    else {
      forget();
      if (spot !== undefined) offer($(`rect[data-spot="${spot}"]`, drawing).getBBox(), $(`li[data-spot="${spot}"] a.caption`));
    }
  });
}

// What can be done with a box.
function offer(box, caption) {
  const edges = [box.x, box.y, box.x + box.width, box.y + box.height].map((edge) => edge.toFixed(1) * 1);
  const like = `${stage.dataset.place}@${edges}`;
  const note = tag("");
  note.classList.add("act");
  const add = (text, url) => {
    const link = document.createElement("a");
    link.textContent = text;
    link.href = url;
    note.append(link);
  };
  add("More like this", `/?like=${like}`);
  if (stage.dataset.question !== "/") {
    add("Add it to the question", `${stage.dataset.question}&like=${like}`);
  }
  if (caption) add(`Ask “${caption.textContent}”`, caption.href);
  show(note, box);
  $("a", note).focus();
}

function tag(text) {
  const note = document.createElement("p");
  note.className = "tag";
  note.textContent = text;
  return note;
}

// Shows a note below a box of the photo, or above it where there is no room.
function show(note, box) {
  stage.append(note);
  const frame = stage.getBoundingClientRect();
  const corner = (x, y) => new DOMPoint(x, y).matrixTransform(drawing.getScreenCTM());
  const low = corner(box.x, box.y + box.height);
  const high = corner(box.x, box.y);
  const below = low.y - frame.top + 6;
  const top = below + note.offsetHeight < frame.height ? below : Math.max(6, high.y - frame.top - note.offsetHeight - 6);
  note.style.top = `${top}px`;
  note.style.left = `${Math.max(6, Math.min(low.x - frame.left, frame.width - note.offsetWidth - 6))}px`;
}

// Takes away a box that was drawn, and what was offered for it; whether there was one.
function forget() {
  const there = $(".drawn, .tag.act", stage) !== null;
  for (const each of $$(".drawn, .tag", stage)) each.remove();
  return there;
}

// Pictures that are not in the index.

const drop = $(".drop");
const holdsFile = (data) => [...(data?.types ?? [])].includes("Files");

async function send(file) {
  if (!file) return;
  const body = new FormData();
  body.append("photo", file);
  drop.hidden = false;
  $("p", drop).textContent = "Looking at the picture …";
  try {
    const { upload } = await (await request("/api/v1/uploads", { method: "POST", body })).json();
    location.assign(`/uploads/${upload.name}`);
  } catch {}
  drop.hidden = true;
  $("p", drop).textContent = drop.dataset.text;
}

addEventListener("dragover", (event) => {
  if (!holdsFile(event.dataTransfer)) return;
  event.preventDefault();
  drop.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.hidden = true;
});
addEventListener("drop", (event) => {
  if (!holdsFile(event.dataTransfer)) return;
  event.preventDefault();
  drop.hidden = true;
  send(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) send(event.clipboardData.files[0]);
});
$("[form=picture][type=file]").addEventListener("change", (event) => send(event.target.files[0]));

// Paths to copy.

for (const button of $$("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  });
}

// News of the index.

const news = $("[data-events]");
let source = null;

function listen() {
  source = new EventSource(news.dataset.events);
  source.onerror = () => say("The server does not answer. Start it again with: dcsearch serve", () => location.reload());
  source.onmessage = ({ data }) => {
    say("");
    const { index, run } = JSON.parse(data);
    for (const count of $$("[data-count]")) {
      if (index) count.textContent = index[count.dataset.count].toLocaleString("en");
    }
    if (!run) return;
    $("#run").hidden = false;
    $("[data-run=folder]").textContent = run.folder.path;
    const many = run.total ? ` ${run.done.toLocaleString("en")} of ${run.total.toLocaleString("en")}` : "";
    $("[data-run=stage]").textContent = run.running ? run.stage + many : run.outcome;
    const bar = $("[data-run=progress]");
    if (run.total) [bar.max, bar.value] = [run.total, run.done];
    else bar.removeAttribute("value");
    bar.hidden = $("[data-run=stop]").hidden = !run.running;
    for (const button of $$(".folders button")) button.disabled = run.running;
    if (!run.running && news.dataset.running === "true") location.reload(); // for what failed, and folders
    news.dataset.running = run.running;
  };
}

if (news) {
  listen();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
}
