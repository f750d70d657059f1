// The demo's page: starts the shop, and the board beside it that shows what became of each event.
import { startBoard } from "./board.js";
import { startShop } from "./shop.js";
import { Tracker } from "./tracking.js";

const tracker = new Tracker();
startShop(tracker);
startBoard(tracker);
