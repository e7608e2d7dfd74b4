// node llama_cpp.mjs NPM_FOLDER NIBBLE WORK_FOLDER MODELS_FOLDER [MODEL...]
//
// Packs the demo's model and the model folders that are there into GGUF files, lets llama.cpp go on with each
// prompt of their oracles, and holds its tokens against those of `nibble run` on the same file. llama.cpp is the one that
// the package node-llama-cpp in NPM_FOLDER brings; its keys and values are kept in f32 and its activations
// are those of its own types.
//
// llama.cpp multiplies quantized weights by activations of 8 bits, and f16 and bf16 weights by activations
// of 16 bits, where `nibble run` multiplies by f32. So tokens may differ where two logits are close. That is
// shown, and held against a second run: with the same weights expanded to f32 llama.cpp has to choose every
// token as `nibble run` does on the packed file.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [npmFolder, nibble, workFolder, modelsFolder, ...wanted] = process.argv.slice(2);
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

/** What `nibble run` goes on with. */
function goOnHere(file, prompt, count) {
  const answer = execFileSync(nibble, [
    "run", file, "-p", prompt, "-n", String(count), "--threads", "1", "--json",
  ]);
  return JSON.parse(answer);
}

/** Writes a file with nibble, in silence. */
function write(file, ...how) {
  execFileSync(nibble, [...how, "-o", file, "--threads", "1"], { stdio: ["ignore", "ignore", "inherit"] });
}

/** Where llama.cpp's tokens on `file` are not those in `here`: a text for each prompt. */
async function differences(file, here) {
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  const found = [];
  for (const { prompt, count, prompt_tokens: promptTokens, tokens } of here) {
    const there = await goOn(model, prompt, count);
    if (promptTokens.join() !== there.promptTokens.join()) {
      found.push(`'${prompt}' is ${there.promptTokens} to llama.cpp and ${promptTokens} here`);
      continue;
    }
    const at = there.tokens.findIndex((token, i) => token !== tokens[i]);
    if (at === -1) continue;
    const logit = (token) => `${token} (logit ${there.logits[at].get(token).toFixed(4)})`;
    found.push(`'${prompt}', token ${at}: llama.cpp takes ${logit(there.tokens[at])}, not ${logit(tokens[at])}`);
  }
  await model.dispose();
  return found;
}

let passed = 0;
let failed = 0;
fs.mkdirSync(workFolder, { recursive: true });
for (const [name, encodings] of Object.entries(packings)) {
  const folder = name === "demo" ? demo : path.join(modelsFolder, name);
  if (!fs.existsSync(folder) || (wanted.length !== 0 && !wanted.includes(name))) continue;
  const oracleFile = name === "demo" ? path.join(top, "examples/engine/tests/data/demo_model.json")
                                     : path.join(folder, "oracle.json");
  const { greedy } = JSON.parse(fs.readFileSync(oracleFile));
  for (const encoding of ["as stored", ...encodings]) {
    const file = path.join(workFolder, `${name}.gguf`);
    const expanded = path.join(workFolder, `${name}-expanded.gguf`);
    if (encoding === "as stored") {
      write(file, "convert", folder);
    } else {
      write(file, "pack", folder, "-e", encoding);
    }
    const here = greedy.map(({ prompt, tokens }) => {
      return { prompt, count: tokens.length, ...goOnHere(file, prompt, tokens.length) };
    });
    const close = await differences(file, here);
    let faults = [];
    if (close.length !== 0) {
      write(expanded, "pack", file, "-e", "f32", "--requantize");
      faults = encoding === "f32" ? close : await differences(expanded, here);
      fs.rmSync(expanded);
    }
    fs.rmSync(file);
    faults.length === 0 ? ++passed : ++failed;
    console.log(`${faults.length === 0 ? "ok    " : "FAILED"} ${name} ${encoding}: ` +
      `${greedy.length - close.length} of ${greedy.length} prompts the same` +
      (close.length === 0 ? "" : `, ${greedy.length - faults.length} with the weights expanded to f32`));
    for (const each of close) console.log(`         ${each}`);
    for (const each of faults) console.log(`         expanded: ${each}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed !== 0 ? 0 : 1);
