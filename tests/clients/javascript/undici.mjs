import { EventSource } from "undici";
import { listen } from "./listen.mjs";

listen(EventSource);
