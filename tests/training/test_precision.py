"""Products of rounded factors: right by hand, near to float32, and nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.testing.packs import CNN, MLP, UNLIFTABLE, assert_same, finish, make_pack, small_stream, weights
from cfsweep.training.engine.linear_stack import LinearStack
from cfsweep.training.pack import Pack
from cfsweep.training.precision import matmul_precision


def bf16(value: Tensor) -> Tensor:
    """Rounded to 8 bits of mantissa, as float64."""
    return value.to(torch.bfloat16).double()


def test_a_stack_multiplies_rounded_factors_forward_and_back() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3, bias=False))
    stack = LinearStack.of(module, "3")
    assert stack is not None
    views = stack.views({name: p.detach().unsqueeze(0) for name, p in module.named_parameters()})
    room_by_name = {name: torch.empty_like(p).unsqueeze(0) for name, p in module.named_parameters()}
    x, gradient = torch.randn(1, 4, 7), torch.randn(1, 4, 3)
    outputs = stack.outputs(views, x, torch.bfloat16)
    stack.vjp(views, outputs, gradient, {}, stack.views(room_by_name), torch.bfloat16)
    first, second = (module.get_parameter(f"{n}.weight").detach() for n in (1, 3))
    near = {"rtol": 2e-2, "atol": 2e-2}  # a product's result is rounded too
    hidden = torch.relu(bf16(x[0]) @ bf16(first).T + module.get_parameter("1.bias").detach().double()).float()
    torch.testing.assert_close(outputs[-1][0].double(), bf16(hidden) @ bf16(second).T, **near)
    torch.testing.assert_close(room_by_name["3.weight"][0].double(), bf16(gradient[0]).T @ bf16(hidden), **near)
    back = (bf16(gradient[0]) @ bf16(second)) * (hidden > 0)
    torch.testing.assert_close(room_by_name["1.weight"][0].double(), bf16(back).T @ bf16(x[0]), **near)
    torch.testing.assert_close(room_by_name["1.bias"][0].double(), back.sum(0), **near)
    assert all(output.dtype == torch.float32 for output in outputs)
    for product in (outputs[-1], room_by_name["3.weight"], room_by_name["1.weight"]):
        assert torch.equal(product, product.to(torch.bfloat16).float())
    assert not torch.equal(outputs[1], stack.outputs(views, x)[1])


def gradient_of(pack: Pack) -> Tensor:
    """The gradient (1, P) of the sum of the logits of five images, each with a weight of its own."""
    weights_of = pack.context.lifted.weights(pack.context.layout.unflatten(pack.stack.theta))
    traced = pack.context.lifted.traced(weights_of, pack.context.store[torch.arange(5).unsqueeze(0)], ())
    assert traced.logits.dtype == torch.float32
    gradient = torch.zeros_like(pack.stack.theta)
    torch.manual_seed(0)
    traced.vjp(
        torch.randn_like(traced.logits), {}, pack.context.lifted.weights(pack.context.layout.unflatten(gradient))
    )
    return gradient


@pytest.mark.parametrize("network", [MLP, CNN], ids=["mlp", "cnn"])
def test_gradients_of_bf16_products_are_near_those_of_float32(network: NetworkConfig) -> None:
    exact, rounded = (
        gradient_of(make_pack(small_stream(), network=network, precision=precision))
        for precision in ("float32", "bf16")
    )
    assert 1e-4 < (exact - rounded).norm() / exact.norm() < 0.15


@pytest.mark.parametrize("ingredients", [(), ("ewc", "lwf"), ("der++",)])
@pytest.mark.parametrize("network", [MLP, CNN, UNLIFTABLE], ids=["mlp", "cnn", "unliftable"])
def test_a_run_with_bf16_products_keeps_float32_weights(network: NetworkConfig, ingredients: tuple[str, ...]) -> None:
    exact, rounded = (
        finish(make_pack(small_stream(), ingredients, network=network, precision=precision, epochs=1))
        for precision in ("float32", "bf16")
    )
    assert weights(rounded).dtype == torch.float32
    assert not torch.equal(weights(exact), weights(rounded))
    assert rounded.records[0].failure is None


def test_tf32_is_float32_on_a_cpu() -> None:
    packs = [finish(make_pack(small_stream(), ("ewc",), precision=p)) for p in ("float32", "tf32")]
    assert_same(*packs)


@pytest.mark.parametrize(("precision", "expected"), [("float32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")])
def test_what_a_gpu_is_told_holds_within_the_steps_alone(precision: str, expected: str) -> None:
    def told() -> list[str]:
        return [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]  # type: ignore[attr-defined]

    before = told()
    with matmul_precision(precision):
        assert told() == [expected, expected]
    assert told() == before
