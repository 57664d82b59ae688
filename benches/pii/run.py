"""Personal data in synthetic sentences: lumos's guard beside presidio-analyzer, on the entities that patterns and checksums find.

The sentences are the templates of presidio-evaluator (MIT), filled by Faker with a fixed seed; what was put in for a card
number, an IBAN, an e-mail address, a phone number, an IP address and a social security number is what should be found.
Presidio has a blank spaCy pipeline and its own pattern recognisers, no names. An entity is found when a finding of its kind
covers at least half of it and is at least half covered by it.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

#       placeholder            lumos    presidio
KINDS = {
    "credit_card_number": ("card", "CREDIT_CARD"),
    "iban": ("iban", "IBAN_CODE"),
    "email": ("email", "EMAIL_ADDRESS"),
    "phone_number": ("phone", "PHONE_NUMBER"),
    "ip_address": ("ip", "IP_ADDRESS"),
    "ssn": ("ssn", "US_SSN"),
}


def sentences(wheel, times, seed):
    """Texts with what is in them: (kind, start, end) in characters."""
    from faker import Faker

    fake = Faker("en_US")
    Faker.seed(seed)
    fill = {
        "credit_card_number": fake.credit_card_number,
        "iban": fake.iban,
        "email": fake.ascii_email,
        "phone_number": fake.phone_number,
        "ip_address": fake.ipv4,
        "ssn": fake.ssn,
        "person": fake.name, "name": fake.name, "name_male": fake.name_male, "name_female": fake.name_female,
        "first_name": fake.first_name, "last_name": fake.last_name, "first_name_male": fake.first_name_male,
        "first_name_female": fake.first_name_female, "last_name_male": fake.last_name, "last_name_female": fake.last_name,
        "first_name_nonbinary": fake.first_name, "prefix": fake.prefix, "prefix_male": fake.prefix_male,
        "prefix_female": fake.prefix_female, "organization": fake.company, "address": fake.address, "city": fake.city,
        "country": fake.country, "street_name": fake.street_name, "building_number": fake.building_number,
        "secondary_address": fake.secondary_address, "postcode": fake.postcode, "zipcode": fake.zipcode,
        "state_abbr": fake.state_abbr, "job": fake.job, "url": fake.url, "year": fake.year, "date_of_birth": fake.date,
        "date_time": fake.date, "day_of_week": fake.day_of_week, "age": lambda: str(fake.random_int(18, 90)),
        "nationality": fake.country, "nation_woman": fake.country, "nation_plural": fake.country,
        "us_driver_license": lambda: fake.bothify("?#######").upper(),
    }
    with zipfile.ZipFile(wheel) as package:
        templates = package.read("presidio_evaluator/data_generator/raw_data/templates.txt").decode("utf-8", "replace")
    found = []
    for template in [line for line in templates.splitlines() if line.strip()] * times:
        text, wanted = "", []
        for part in re.split(r"(\{\{\w+\}\})", template.replace("\\n", "\n")):
            placeholder = re.fullmatch(r"\{\{(\w+)\}\}", part)
            value = fill[placeholder[1]]() if placeholder else part
            if placeholder and placeholder[1] in KINDS:
                wanted.append((placeholder[1], len(text), len(text) + len(value)))
            text += value
        found.append((text, wanted))
    return found


def long_text(texts):
    """What time is taken on."""
    return "\n".join(texts)[:100_000]


def lumos(binary, timed, texts):
    """Findings of each text, and microseconds per KB of one long one."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "agents").mkdir()
        (folder / "agents/guard.ron").write_text("Guard(detect: [Email, Phone, Card, Iban, Ssn, Ip])")
        (folder / "screen.ron").write_text(
            'Workflow(name: "screen", inputs: { "text": Text(required: true) }, nodes: { "screen": Guard(agent: "guard", '
            'input: "{{ inputs.text }}", on_block: Redact) }, output: "{{ screen.findings }}")'
        )
        (folder / "d.jsonl").write_text("".join(json.dumps({"inputs": {"text": text}}) + "\n" for text in texts))
        environment = {**os.environ, "LUMOS_HOME": str(folder / "home")}

        def run(*arguments, binary=binary):
            output = subprocess.run([binary, *arguments, "--format", "json"], cwd=folder, env=environment, capture_output=True, text=True)
            if output.returncode != 0:
                sys.exit(output.stdout + output.stderr)
            return json.loads(output.stdout)

        document = run("eval", "screen.ron", "--dataset", "d.jsonl", "-s", "regex('')")
        findings = [[(it["kind"], it["start"], it["end"]) for it in outcome["output"]] for outcome in document["outcomes"]]
        long = long_text(texts)
        (folder / "long.json").write_text(json.dumps({"text": long}))
        took = []
        for _ in range(5):
            record = run("run", "screen.ron", "--inputs", "long.json", binary=timed)
            took.append(record["steps"][0]["attempts"][0]["duration_us"])
        return findings, min(took) / (len(long.encode()) / 1000)


def presidio(texts, threshold):
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Blank(SpacyNlpEngine):
        def __init__(self):
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}
            self.nlp["en"].max_length = 10**7

    analyzer = AnalyzerEngine(nlp_engine=Blank(), supported_languages=["en"])
    entities = [name for _, name in KINDS.values()]
    analyzer.analyze("warm up 4111111111111111", "en", entities=entities)
    found = [analyzer.analyze(text, "en", entities=entities, score_threshold=threshold) for text in texts]
    long = long_text(texts)
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        analyzer.analyze(long, "en", entities=entities, score_threshold=threshold)
        took.append(time.perf_counter() - begun)
    findings = [[(it.entity_type, it.start, it.end) for it in results] for results in found]
    return findings, min(took) * 1e6 / (len(long.encode()) / 1000)


def score(findings, wanted, kind, name):
    """Found, missed and raised in error."""
    hits = misses = alarms = 0
    for found, truth in zip(findings, wanted):
        found = [it for it in found if it[0] == name]
        truth = [it for it in truth if it[0] == kind]

        def same(a, b):
            common = min(a[2], b[2]) - max(a[1], b[1])
            return common * 2 >= a[2] - a[1] and common * 2 >= b[2] - b[1]

        hits += sum(any(same(a, b) for b in found) for a in truth)
        misses += sum(not any(same(a, b) for b in found) for a in truth)
        alarms += sum(not any(same(a, b) for a in truth) for b in found)
    return hits, misses, alarms


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that results are written to")
    parser.add_argument("--lumos", default="target/release/lumos")
    parser.add_argument("--timed", help="the binary whose time is taken, if it is another")
    parser.add_argument("--wheel", required=True, help="presidio_evaluator-0.3.2-py3-none-any.whl")
    parser.add_argument("--seed", type=int, default=8, help="seed of the sentences")
    parser.add_argument("--times", type=int, default=10, help="sentences per template")
    arguments = parser.parse_args()
    made = sentences(arguments.wheel, arguments.times, arguments.seed)
    texts, wanted = [text for text, _ in made], [truth for _, truth in made]
    print(f"{len(texts)} sentences,", Counter(kind for truth in wanted for kind, _, _ in truth))
    name = "presidio-analyzer " + version("presidio-analyzer")
    runs = {"lumos": lumos(os.path.abspath(arguments.lumos), os.path.abspath(arguments.timed or arguments.lumos), texts)}
    for threshold in (0.0, 0.4):
        runs[f"{name}, score from {threshold}"] = presidio(texts, threshold)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open(arguments.out / "pii.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "entity", "there", "found", "missed", "in_error", "recall", "precision", "us_per_kb"])
        for what, (findings, us_per_kb) in runs.items():
            for kind, names in KINDS.items():
                hits, misses, alarms = score(findings, wanted, kind, names[0 if what == "lumos" else 1])
                recall, precision = hits / max(hits + misses, 1), hits / max(hits + alarms, 1)
                row = [what, kind, hits + misses, hits, misses, alarms, f"{recall:.4f}", f"{precision:.4f}", f"{us_per_kb:.1f}"]
                writer.writerow(row)
                print(*row)
    shown = Counter()
    for index, (text, truth) in enumerate(made):
        for kind, names in KINDS.items():
            hits, misses, alarms = score([runs["lumos"][0][index]], [truth], kind, names[0])
            if (misses or alarms) and shown[kind] < 5:
                shown[kind] += 1
                print("lumos", kind, "missed" if misses else "in error", repr(text[:150]), truth, runs["lumos"][0][index])


main()
