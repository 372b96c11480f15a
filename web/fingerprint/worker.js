/**
 * The worker that turns one file into its fingerprints. It can reach no network: its own response
 * carries a policy that connects to nothing (docs: "How do I know?").
 */

import { serve } from './serve.js';

serve({});
