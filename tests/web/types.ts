// A use of the types, and that they are the module's: `made` holds what tsc makes of tautline.js itself.

import { above, blockParser, Tautline, type Events, type Options } from "../../examples/web/tautline.js";
import type * as Made from "./made/tautline.js";

const options: Options = { topics: ["a"], transports: ["websocket", "poll"], token: async () => "t", ack: true };
const line = new Tautline("/base/", options);
line.addEventListener("event", ({ detail: { id, topic, event, data } }) => [id, topic, event, data].map((text: string) => text.length));
line.addEventListener("gap", ({ detail }) => detail.topics.map(({ topic, reason }): string => topic + reason));
line.addEventListener("state", ({ detail }) => detail.state === "waiting" && detail.wait);
const position: Promise<string> = line.publish("a", "data", { key: "k", to: "others", slot: "s" });
export const used = [position, above(line.cursor, "0"), blockParser(({ data }) => void data?.length)("x")];
// @ts-expect-error a transport that there is not
new Tautline("/", { transports: ["carrier pigeon"] });
// @ts-expect-error not how an ephemeral publication is said
line.publish("a", "b", { keep: false });
// @ts-expect-error read only
line.cursor = "0";

type Same<A, B> = [A, B] extends [B, A] ? true : false;
type Methods<T> = { [K in Exclude<keyof T, keyof EventTarget>]: T[K] };
type Written = { Tautline: Methods<Tautline>; blockParser: typeof blockParser; above: typeof above; new: ConstructorParameters<typeof Tautline> };
type Generated = { Tautline: Methods<Made.Tautline>; blockParser: typeof Made.blockParser; above: typeof Made.above; new: ConstructorParameters<typeof Made.Tautline> };
export const same: Same<Written, Generated> = true;
export const names: Same<keyof typeof Made, "Tautline" | "blockParser" | "above"> = true;
export const closed: Events["state"] = { state: "closed", transport: "sse", reason: "", status: 0 };
