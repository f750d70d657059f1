/** The whole tag: the core, what is measured unasked, the data layer, consent tools. */
import { measure } from './auto';
import { tools } from './cmp';
import { layer } from './layer';
import { safe } from './page';
import { start } from './tagway';

safe(() => start([tools, layer, measure]))();
