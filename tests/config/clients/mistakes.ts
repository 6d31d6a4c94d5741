/** Each line that ends in a code is one mistake, and the code that of the type checker for it. */
import { Configuration, NotesApi, type Problem, ProfilesApi } from "./typescript/index.ts";

const configuration = new Configuration({ basePath: Deno.args[0] });
const notes = new NotesApi(configuration);
const profiles = new ProfilesApi(configuration);

await notes.notesCreate({ noteCreateRequest: { content: "words" } }); // TS2741
await notes.notesCreate({ noteCreateRequest: { title: "first", text: "words" } }); // TS2353
await notes.notesCreate({ noteCreateRequest: { title: null } }); // TS2322
const page = await notes.notesList({ sort: "updated_at" }); // TS2322
const count: number = page.count; // TS2322
const next: string = page.next; // TS2322
const patchedPreferencesRequest = { theme: "purple" } as const;
await profiles.profilesPreferencesPatch({ userId: "ines", patchedPreferencesRequest }); // TS2322
export const status = (problem: Problem): string => problem.status; // TS2322
console.log(count, next);
