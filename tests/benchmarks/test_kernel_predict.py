"""zoo-bench kernels --predict: instructions and bytes against counts by hand; a prediction that passes for no measurement."""

import json
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

pytest.importorskip("triton", reason="triton is not installed")
import triton
import triton.language as tl

from benchmarks import kernel_cases, kernel_code, kernel_predict, kernel_table
from benchmarks.cli import main
from benchmarks.kernel_code import Executed, Launch, count, executed
from benchmarks.kernel_traffic import watched
from benchmarks.kernels import unavoidable_bytes
from kernels._triton.shared import OPTIONS

CPU = torch.device("cpu")
compiling = pytest.mark.skipif(not all((kernel_code.TOOLS / tool).exists() for tool in ("cuobjdump", "nvdisasm")),
                               reason="this build of triton has no cuobjdump and nvdisasm")
ASSEMBLY = """\
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   MUFU.EX2 R4, R2 ;
.L_x_0:
        /*0020*/              @!P0 FADD R4, R4, R2 ;
        /*0030*/                   MUFU.SQRT R4, R4 ;
        /*0040*/               @P0 BRA `(.L_x_0) ;
        /*0050*/               @P1 BRA `(.L_x_2) ;
        /*0060*/               @P1 BRA `(.L_x_1) ;
.L_x_2:
        /*0070*/                   EXIT ;
.L_x_3:
        /*0080*/                   BRA `(.L_x_3);
        /*0090*/                   NOP;
"""
PTX = "\tex2.approx.ftz.f32 %r1, %r2;\n\t@%p1 sqrt.approx.f32 %r1, %r1;\n"


@triton.jit
def _loops(x_p, y_p, n, m, WIDTH: tl.constexpr, BODY: tl.constexpr):
    i = tl.arange(0, WIDTH)
    x = tl.load(x_p + i)
    for _ in range(n):
        for _ in tl.static_range(BODY):
            x = tl.exp2(x)
        for _ in range(0, m, 2):
            for _ in tl.static_range(BODY):
                x = tl.sqrt(x)
    tl.store(y_p + i, x)


def loops(body):
    x = torch.empty(256)
    return Launch(_loops, 3, {"x_p": x, "y_p": x, "n": 5, "m": 7, "WIDTH": 256, "BODY": body}, OPTIONS)


def test_loops_multiply_and_what_follows_the_end_does_not_count():
    assert count(ASSEMBLY, [(0, 3), (1, 4)], PTX) == {
        "LDC": 1, "MUFU.EX2": 3, "FADD": 12, "MUFU.SQRT": 12, "BRA": 12 + 3 + 3, "EXIT": 1}


@pytest.mark.parametrize("trips, ptx, message", [
    ([(0, 3)], PTX, "one was unrolled or split"),
    ([(0, 3), (0, 4)], PTX, "one was unrolled or split"),
    ([(0, 3), (1, 4)], PTX.splitlines()[0], "a loop was unrolled"),
])
def test_other_loops_than_the_sources_are_refused(trips, ptx, message):
    with pytest.raises(ValueError, match=message):
        count(ASSEMBLY, trips, ptx)


@compiling
def test_a_compiled_kernels_loops():
    """256 numbers on 128 threads: two a thread; 5 rounds, in each 50 exponentials and 4 times 50 roots of both."""
    assert loops(50).trips() == [(0, 5), (1, 4)]
    code = executed(loops(50), 90)
    assert code.warps == 4 and code.special == (5 * 50 * 2 + 5 * 4 * 50 * 2) * 128
    assert code.special / 128 < code.instructions < 1.1 * code.special / 128


@compiling
def test_a_compiled_kernel_with_unrolled_loops_is_refused():
    with pytest.raises(ValueError, match="unrolled"):
        executed(loops(1), 90)


@compiling
@pytest.mark.parametrize("dtype, kind, products", [(torch.bfloat16, "BF16", 1), (torch.float32, "F16", 3)])
def test_matrix_products_of_the_nearest_code(dtype, kind, products):
    """2 N K d operations, in float32 three times; all of them in full tiles."""
    n, k, d = 256, 320, 64
    with FakeTensorMode():
        case = kernel_cases.nearest_code(n, k, d, dtype, CPU)
        *_, launch = kernel_predict.passes(case.fused, case.inputs())["forward"].launches
        assert executed(launch, 90).tensor == {kind: products * 2 * n * k * d // launch.programs}


@pytest.mark.parametrize("programs, warps, rounds", [(1, 1, 1), (4 * 132, 1, 1), (4 * 132 + 1, 1, 2), (133, 4, 2), (1, 6, 2)])
def test_a_scheduler_issues_for_one_warp_at_a_time(programs, warps, rounds):
    chip = kernel_predict.CHIPS["h200"]
    launched = [(Launch(None, programs, {}, {}), Executed(warps, 1000, 320 * warps, {}, 0, 0))]
    bounds = chip.seconds(0, 1, launched)
    assert bounds["issue"] == pytest.approx(rounds * 1000 / chip.clock)
    assert bounds["special"] == pytest.approx(rounds * 320 / 4 / chip.clock)            # 16 a processor are 4 a scheduler


@compiling
def test_instructions_grow_with_the_samples_alone():
    """A backward pass of reparam_log_weight loops over them, 16 at a time: equal steps. As launched: chunk halves, tiles of
    1 x 256."""
    found = []
    for k in (32, 48, 64):
        with FakeTensorMode():
            case = kernel_cases.reparam_log_weight(8, 256, k, torch.float32, CPU)
            inputs = [t.detach().requires_grad_() for t in case.inputs()]
            (launch,) = kernel_predict.passes(case.fused, inputs)["backward"].launches
        assert (launch.programs, launch.constants["ROWS"], launch.constants["FAST"]) == (8, 1, True)
        found.append(executed(launch, 90).instructions)
    assert found[2] - found[1] == found[1] - found[0] > 100


def test_bytes_of_torch_operations():
    with FakeTensorMode():
        a, b = torch.empty(3, 4), torch.empty(4).expand(3, 4)
        with watched() as found:
            c = (a * b).flatten()                           # 12 and 4 numbers read, 12 written; the view is free
            c.exp_()                                        # 12, 12
            torch.randn_like(c)                             # 12 written
    assert (found.kernels, found.bytes, found.launches) == (3, 4 * (28 + 24 + 12), [])


@pytest.mark.parametrize("case", [likelihood(64, 256, dtype, CPU) for likelihood in (kernel_cases.bernoulli_nll,
                         kernel_cases.gaussian_nll) for dtype in (torch.float32, torch.bfloat16)], ids=lambda case: case.name)
def test_inductor_moves_what_it_must_of_the_likelihoods(case):
    """Why they have no kernel. In float32 it keeps a number for each number of x, and reads a parameter less."""
    inputs = [t.requires_grad_() for t in case.inputs()]
    found = kernel_predict.by_inductor(case, inputs)
    assert sum(done.bytes for done in found.values()) == pytest.approx(unavoidable_bytes(case, inputs)["both"], rel=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a prediction of two small cases."""
    out = tmp_path_factory.mktemp("predicted")
    made = [kernel_cases.reparam_kl, kernel_cases.bernoulli_nll]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_predict, "cases", lambda device, scale: [make(8, 64, torch.float32, device) for make in made])
        assert main(["kernels", "--predict", "--out", str(out)]) == 0
    return out / "kernels"


@compiling
def test_a_prediction_says_so(folder):
    found = json.loads((folder / "predicted-h200.json").read_text())
    assert found["predicted"] is True and "predicted" in found["schema"] and found["chip"]["bandwidth"] == 4.8e12
    assert [(r["operation"], r["pass"]) for r in found["rows"]] == [
        (name, done) for name in ("reparam_kl", "bernoulli_nll") for done in ("forward", "backward", "both")]
    forward, backward, both, without = found["rows"][:4]
    assert both["bytes"] == 4 * 8 * 64 * 8 + 2 * 4 * 8 + 16 and both["kernels"] == 3                # the seed is drawn, too
    assert [launch["programs"] for launch in forward["launches"]] == [4] and forward["instructions"] > 30 * 8 * 64
    assert without["launches"] == [] and not without["kernel"]
    for row in found["rows"]:
        bounds = dict(row["bounds"])
        least = bounds.pop("launch") + max(bounds.values())
        assert least * (1 - 1e-9) <= row["seconds"] < math.inf
        assert row["seconds"] == pytest.approx(least) or row["pass"] == "both"
        assert row["against"].keys() == {"eager", "compile"} and "median" not in row
    assert both["seconds"] == forward["seconds"] + backward["seconds"]
    page = (folder / "README.md").read_text()
    assert "No measurement" in page and "Predicted, not measured: NVIDIA H200" in page


@compiling
def test_predicted_and_measured_stand_apart(folder):
    predicted = json.loads((folder / "predicted-h200.json").read_text())
    measured = {"env": {"processor": "A machine", "torch": "2", "triton": None, "threads": 1, "commit": "0", "device": "cpu"},
                "rows": [{"operation": "timed", "size": {}, "dtype": "", "pass": "", "error": "none"}]}
    for records in ([predicted, measured], [measured, predicted]):
        first, second = kernel_table.page(records).split("## Predicted, not measured")
        assert "| timed" in first and "| reparam_kl" not in first and "| timed" not in second and "| reparam_kl" in second


def test_an_unknown_chip(tmp_path, capsys):
    assert main(["kernels", "--predict", "h300", "--out", str(tmp_path)]) == 2
    assert "'h300': the rates of h200 are known" in capsys.readouterr().err and not list(tmp_path.iterdir())
