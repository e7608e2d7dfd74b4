// node llama_cpp.mjs NPM_FOLDER NIBBLE WORK_FOLDER MODELS_FOLDER [MODEL...]
//
// Packs the demo's model and the model folders that are there into GGUF files, lets llama.cpp go on with each
// prompt of their oracles, and holds its tokens against those of `nibble run` on the same file. llama.cpp is the one that
// the package node-llama-cpp in NPM_FOLDER brings; its keys and values are kept in f32 and its activations
// are those of its own types.
//
// llama.cpp multiplies quantized weights by activations of 8 bits, and f16 and bf16 weights by activations
// of 16 bits, where `nibble run` multiplies by f32. So tokens may differ where two logits are close: that
// is shown, and a fault only where the logits are further apart than those types explain. With f32 weights
// every token has to be the same.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [npmFolder, nibble, workFolder, modelsFolder, ...wanted] = process.argv.slice(2);
// How far apart two logits may be where another choice is the activations' doing.
const mostGap = { f32: 0, f16: 0.05, bf16: 0.1, other: 0.75 };
const top = path.resolve(import.meta.dirname, "../..");
const demo = path.join(top, "examples/demo/model");
const packings = {
  demo: ["f32", "q8_0", "q4_1"],
  stories260K: ["f32", "f16", "bf16", "q8_0", "q4_1", "q5_1"],
  "kjv-qwen2": ["f32", "q8_0", "q4_k", "q6_k"],
  "kjv-gpt2": ["f32", "q8_0", "q4_k", "q6_k"],
};

const entry = path.join(npmFolder, "node_modules", "node-llama-cpp", "dist", "index.js");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(path.resolve(entry)));
const llama = await getLlama({
  gpu: false, build: "never", skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error,
  maxThreads: 1,
});

/** The likeliest `count` tokens after `prompt`, and how likely each of all was before each choice. */
async function goOn(model, prompt, count) {
  const context = await model.createContext({
    contextSize: 256, threads: 1, flashAttention: false,
    experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
  });
  const sequence = context.getSequence();
  const before = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];
  let input = [...before, ...model.tokenize(prompt)];
  const promptTokens = input.map(Number);
  const tokens = [];
  const logits = [];
  for (let i = 0; i < count; ++i) {
    const last = [input.at(-1), { generateNext: { token: true, logits: true } }];
    const result = await sequence.controlledEvaluate([...input.slice(0, -1), last]);
    const next = result.at(-1).next;
    const all = new Map([...next.logits].map(([token, logit]) => [Number(token), logit]));
    const best = [...all].reduce((a, b) => (b[1] > a[1] ? b : a))[0];
    tokens.push(best);
    logits.push(all);
    if (model.isEogToken(best)) break;
    input = [best];
  }
  await context.dispose();
  return { promptTokens, tokens, logits };
}

let passed = 0;
let failed = 0;
function check(isFine, text) {
  isFine ? ++passed : ++failed;
  console.log(`${isFine ? "ok    " : "FAILED"} ${text}`);
}

fs.mkdirSync(workFolder, { recursive: true });
for (const [name, encodings] of Object.entries(packings)) {
  const folder = name === "demo" ? demo : path.join(modelsFolder, name);
  if (!fs.existsSync(folder) || (wanted.length !== 0 && !wanted.includes(name))) continue;
  const oracleFile = name === "demo" ? path.join(top, "examples/engine/tests/data/demo_model.json")
                                     : path.join(folder, "oracle.json");
  const oracle = JSON.parse(fs.readFileSync(oracleFile));
  for (const encoding of ["convert", ...encodings]) {
    const file = path.join(workFolder, `${name}-${encoding}.gguf`);
    const how = encoding === "convert" ? ["convert", folder] : ["pack", folder, "-e", encoding];
    execFileSync(nibble, [...how, "-o", file, "--threads", "1"], { stdio: ["ignore", "ignore", "inherit"] });
    const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
    const differences = [];
    for (const { prompt, tokens: expected } of oracle.greedy) {
      const theirs = await goOn(model, prompt, expected.length);
      const ours = JSON.parse(execFileSync(nibble, [
        "run", file, "-p", prompt, "-n", String(expected.length), "--threads", "1", "--json",
      ]));
      if (ours.prompt_tokens.join() !== theirs.promptTokens.join()) {
        differences.push(`'${prompt}' is ${theirs.promptTokens} to llama.cpp and ${ours.prompt_tokens} here`);
        continue;
      }
      const at = ours.tokens.findIndex((token, i) => token !== theirs.tokens[i]);
      if (at === -1) continue;
      const [a, b] = [theirs.tokens[at], ours.tokens[at]];
      const gap = theirs.logits[at].get(a) - theirs.logits[at].get(b);
      const text = `'${prompt}' token ${at}: llama.cpp ${a} (logit ${theirs.logits[at].get(a).toFixed(4)}), ` +
        `here ${b} (there ${theirs.logits[at].get(b).toFixed(4)})`;
      const isClose = encoding !== "convert" && gap <= (mostGap[encoding] ?? mostGap.other);
      differences.push(isClose ? { text, gap } : text);
    }
    await model.dispose();
    const faults = differences.filter((each) => typeof each === "string");
    const close = differences.filter((each) => typeof each !== "string");
    const count = oracle.greedy.length;
    check(faults.length === 0, `${name} ${encoding}: ${count - differences.length} of ${count} prompts the same` +
      (close.length === 0 ? "" : `, ${close.length} where two logits are close`));
    for (const each of faults) console.log(`         ${each}`);
    for (const each of close) console.log(`         ${each.text}`);
    fs.rmSync(file);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed !== 0 ? 0 : 1);
