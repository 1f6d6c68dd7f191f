"""`web`: a folder that any web server can serve, with the live page and the model that it computes itself.

index.html, *.js, *.css    the live page's own files, of which one makes sounds in the browser
page.json                  what the page has to know, and what the model's parts take
hear_*.onnx, render_*.onnx, arrays.bin, noise.f32     the model
onnxruntime-web/           what computes it
licences.txt               of all parts; those of what is linked into it lie beside onnxruntime-web
"""

import dataclasses
import importlib.util
import os
import pathlib
import shutil

from qvae_jax.audio.controls import hop_length
from qvae_jax.exporting import description, onnx, packages, runtime_package
from qvae_jax.exporting.graph import Graph, graphs_of
from qvae_jax.generation.model import Model
from qvae_jax.live_page.facts import MODEL_MODULE, PAGE, PAGE_FOLDER, facts
from qvae_jax.models.frame_decoder import NUM_FRAMES
from qvae_jax.system import files

FORMAT = "web"
OWN_FOLDER = pathlib.Path(__file__).parent / "page"
NOTICES = "ThirdPartyNotices.txt"
RUNTIME = "onnxruntime-web"
DESCRIPTION = "page.json"
# The page asks for nothing but itself, and runs no script but its own; the model is WebAssembly.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
UNSERVED = """\
<section id="unserved" class="card" hidden>
<h2>This page wants a web server</h2>
<p>A browser does not let a page that is opened as a file load its parts. In the folder that this page lies in, run
<code>python3 -m http.server</code> and open <code>http://localhost:8000/</code>; or put the folder on any web server.
Nothing that you record leaves your browser.</p>
</section>
"""
FOOTER = """\
<footer class="quiet"><p>What you record stays in this browser, which computes the sounds itself.
<a href="licences.txt">Licences</a></p></footer>
"""
# What is put into the live page, each before or in place of a text that is there once.
CHANGES = {
    '<meta name="viewport"': f'<meta http-equiv="content-security-policy" content="{POLICY}">\n'
    '<meta name="referrer" content="no-referrer">\n<meta name="viewport"',
    '<script type="module" src="main.js">': '<script src="start.js" defer>',
    "<header>": f"{UNSERVED}<header>",
    "</main>\n<div": f"</main>\n{FOOTER}<div",
}


def write(
    model: Model, folder: pathlib.Path, *, onnxruntime_web: str | os.PathLike | None = None
) -> None:
    """Writes the page of a model into a new folder, or nothing.

    onnxruntime_web is its package file, see runtime_package.contents. Raises UserError where it
    cannot be had, where what makes graphs is not installed, and where the folder is there already.
    """
    packages.require("onnx", "writes ONNX")
    packages.require("onnxruntime", "has the notices of what runs it")
    with files.new_folder(folder) as temporary:
        runtime = runtime_package.contents(onnxruntime_web)
        described = _write_model(model, temporary)
        (temporary / RUNTIME).mkdir()
        for name, content in runtime.items():
            (temporary / RUNTIME / name).write_bytes(content)
        # It is linked from many libraries, whose notices only its sister package has.
        [sister] = importlib.util.find_spec("onnxruntime").submodule_search_locations
        shutil.copyfile(pathlib.Path(sister, NOTICES), temporary / RUNTIME / NOTICES)
        _write_page(temporary)
        read = [onnx.ARRAYS_FILE, f"{RUNTIME}/ort.wasm", *described.pop("parts")]
        described["files"] = {name: (temporary / name).stat().st_size for name in read}
        files.write_json(temporary / DESCRIPTION, described)


def _write_model(model: Model, folder: pathlib.Path) -> dict:
    """Writes the model's parts and its noise; gives what page.json tells of them, and their names."""
    # Here, because only who exports needs the package onnx.
    from qvae_jax.exporting import onnx_parts

    graphs = sorted(graphs_of(model.config), key=lambda graph: graph.duration_s)
    parts, lengths = [], []
    for graph in graphs:
        hear, render = onnx_parts.cut(onnx.exported(graph, model.variables))
        names = [f"{word}_{graph.duration_s:g}s.onnx" for word in ("hear", "render")]
        parts += zip(names, (hear, render), strict=True)
        lengths.append(
            {
                "duration_s": graph.duration_s,
                "num_samples": graph.num_samples,
                "num_frames": graph.num_frames,
                "num_noise_samples": graph.num_noise_samples if graph.uses_noise else 0,
                "hear": {"file": names[0], "inputs": _inputs(graph, hear)},
                "render": {"file": names[1], "inputs": _inputs(graph, render)},
            }
        )
    onnx.move_arrays([part for _, part in parts], folder / onnx.ARRAYS_FILE)
    for name, part in parts:
        (folder / name).write_bytes(part.SerializeToString())
    description.write_noise(folder, graphs)
    noise = [description.NOISE_FILE] if graphs[-1].uses_noise else []
    return {
        # Of two encoders the graph has the one that hears voices.
        "facts": facts(
            model,
            longest_s=graphs[-1].duration_s,
            hears_sounds=not model.config.sound_encoder,
        ),
        "model": dataclasses.asdict(model.config),
        "heard_rate_hz": model.front_end.sample_rate_hz,
        "hop_length": hop_length(model.sample_rate_hz),
        "gesture_frames": NUM_FRAMES,
        "lengths": lengths,
        "arrays": onnx.ARRAYS_FILE,
        "noise": noise[0] if noise else None,
        "parts": [*(name for name, _ in parts), *noise],
    }


def _inputs(graph: Graph, part) -> list[dict]:
    """What a part takes for one sound, in its order."""
    given = {
        field.name: field for field in (*description.inputs(graph), *description.outputs(graph))
    }
    fields = [given[one.name] for one in part.graph.input]
    return [
        {"name": field.name, "type": field.dtype, "shape": [1, *field.shape[1:]]}
        for field in fields
    ]


def _write_page(folder: pathlib.Path) -> None:
    """Writes the live page, with our own model module, what that needs, and what CHANGES says."""
    for path in sorted(PAGE_FOLDER.iterdir()):
        if path.name not in (PAGE, MODEL_MODULE):
            shutil.copyfile(path, folder / path.name)
    for path in sorted(OWN_FOLDER.iterdir()):
        shutil.copyfile(path, folder / path.name)
    (folder / PAGE).write_text(page(), "utf-8")


def page() -> str:
    """The live page's document, as it is where no server computes."""
    text = (PAGE_FOLDER / PAGE).read_text("utf-8")
    for place, change in CHANGES.items():
        assert text.count(place) == 1, place
        text = text.replace(place, change)
    return text
