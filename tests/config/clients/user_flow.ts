/** A user's flow by the generated client, against the site whose address is the argument. */
import {
  Configuration,
  NotesApi,
  NotesListSortEnum,
  type Problem,
  ProfilesApi,
  ResponseError,
  Theme,
} from "./typescript/index.ts";

const userId = "ines";
const configuration = new Configuration({ basePath: Deno.args[0], headers: { "X-User-Id": userId } });
const notes = new NotesApi(configuration);
const profiles = new ProfilesApi(configuration);

function equal<T>(actual: T, expected: T): void {
  const [found, wanted] = [actual, expected].map((value) => JSON.stringify(value));
  if (found !== wanted) throw new Error(`${found} is not ${wanted}`);
}

function present<T>(value: T | null | undefined): T {
  if (value == null) throw new Error("a value is missing");
  return value;
}

async function refused(request: Promise<unknown>): Promise<Problem> {
  const reason: unknown = await request.then(() => new Error("it was not refused"), (error) => error);
  if (!(reason instanceof ResponseError)) throw reason;
  return await reason.response.json();
}

// Create, read, change; the second change of the same version is refused.
const created = await notes.notesCreateRaw({ noteCreateRequest: { title: "first" } });
const note = await created.value();
equal([note.user_id, note.title, note.content, note.version], [userId, "first", "", 1]);
const ifMatch = present(created.raw.headers.get("ETag"));
equal(await notes.notesRetrieve({ noteId: note.id }), note);
const change = { noteId: note.id, ifMatch, patchedNoteChangeRequest: { content: "words" } };
const changed = await notes.notesChange(change);
equal([changed.title, changed.content, changed.version], ["first", "words", 2]);
const conflict = await refused(notes.notesChange(change));
equal([conflict.status, conflict.type], [412, "urn:trilith:problem:precondition-failed"]);
const invalid = await refused(notes.notesCreate({ noteCreateRequest: { title: "  " } }));
equal(invalid.errors?.map((error) => error.field), ["title"]);

// The same key and body: the same note. Another body: refused.
const order = { idempotencyKey: '"second"', noteCreateRequest: { title: "second" } };
const second = await notes.notesCreate(order);
const repeated = await notes.notesCreateRaw(order);
equal((await repeated.value()).id, second.id);
equal(repeated.raw.headers.get("Idempotency-Replayed"), "true");
const reused = await refused(notes.notesCreate({ ...order, noteCreateRequest: { title: "other" } }));
equal(reused.status, 422);

// Several at once, and the list by cursor.
const bulk = await notes.notesBulkCreate({
  notesCreateRequest: { notes: [{ title: "third" }, { title: "fourth", content: "words" }] },
});
equal(bulk.results.map((result) => [result.status, result.note.title]), [[201, "third"], [201, "fourth"]]);
const query = { userId, limit: 3, sort: NotesListSortEnum.CreatedAtAsc };
const page = await notes.notesList({ ...query, cursor: "" });
const cursor = present(new URL(present(page.next)).searchParams.get("cursor"));
const rest = await notes.notesList({ ...query, cursor });
equal(
  [...page.results, ...rest.results].map((found) => found.title).sort(),
  ["first", "fourth", "second", "third"],
);
equal(rest.next, null);
equal((await notes.notesList({ userId, q: "fourth" })).count, 1);

const ids = bulk.results.map((result) => result.note.id);
const deleted = await notes.notesBulkDelete({ notesDeleteRequest: { ids } });
equal(deleted.results.map((result) => result.status), [204, 204]);
await notes.notesDelete({ noteId: note.id });
equal((await refused(notes.notesRetrieve({ noteId: note.id }))).status, 404);

// A merge patch: null takes a key away, and what has a default is that again.
const editor = { tab_width: 4, font: null };
const profile = await profiles.profilesCreate({
  profileCreateRequest: {
    user_id: userId,
    email: "ines@example.org",
    preferences: { theme: Theme.Dark, language: "de-AT", editor, layout: ["wide", null] },
  },
});
equal(profile.metadata.last_login, null);
equal(profile.preferences.editor, { font: null, tab_width: 4 });
const patched = await profiles.profilesPreferencesPatch({
  userId,
  patchedPreferencesRequest: { theme: null, editor: null, notifications: { push: false } },
});
equal([patched.preferences.theme, patched.preferences.language], [Theme.System, "de-AT"]);
equal(patched.preferences.notifications.push, false);
equal("editor" in patched.preferences, false);
equal(patched.preferences.layout, ["wide", null]);
