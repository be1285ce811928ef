// Reads a JSON list of manifests of kinds that are not Kubernetes' own; says what their schemas
// have against them.
const KINDS = {
  "keda.sh/v1alpha1/ScaledObject": ["@kubernetes-models/keda", "ComGithubKedacoreKedaV2ApisKedaV1alpha1ScaledObject"],
  "monitoring.coreos.com/v1/ServiceMonitor": [
    "@kubernetes-models/prometheus-operator",
    "ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1ServiceMonitor",
  ],
};
const fs = require("fs");
const modules = process.argv[2];

// The schemas take members that they do not know. Each must at least be a word in one of them.
function unknownMembers(value, words, path) {
  if (Array.isArray(value)) return value.flatMap((item) => unknownMembers(item, words, path));
  if (value === null || typeof value !== "object" || ["matchLabels", "metadata"].includes(path.at(-1))) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const below = [...path, key];
    return [...(words.has(key) || key === "matchLabels" ? [] : [below.join(".")]), ...unknownMembers(inner, words, below)];
  });
}

function wordsOf(directory) {
  const texts = fs.readdirSync(directory).map((file) => fs.readFileSync(`${directory}/${file}`, "utf8"));
  return new Set(texts.join(" ").match(/[A-Za-z]+/g));
}

const manifests = JSON.parse(fs.readFileSync(0, "utf8"));
let wrong = 0;
for (const manifest of manifests) {
  const kind = `${manifest.apiVersion}/${manifest.kind}`;
  const name = `${kind} ${manifest.metadata.name}`;
  if (!(kind in KINDS)) {
    console.error(`${name}: no schema is known for this kind`);
    wrong += 1;
    continue;
  }
  const [models, schema] = KINDS[kind];
  const { validate } = require(`${modules}/${models}/_schemas/${schema}.js`);
  for (const member of unknownMembers(manifest.spec, wordsOf(`${modules}/${models}/_schemas`), ["spec"])) {
    console.error(`${name}: ${member} is unknown`);
    wrong += 1;
  }
  if (!validate(manifest)) {
    for (const error of validate.errors) console.error(`${name}: ${error.instancePath || "/"} ${error.message}`);
    wrong += 1;
  }
}
process.exit(wrong ? 1 : 0);
