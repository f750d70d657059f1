/** The small tag: page views, events, identity, consent by a plain call and GPC, holding, the outbox. */
import { safe } from './page';
import { start } from './tagway';

safe(start)();
