import { runService } from './lifecycle.ts'

await runService()
