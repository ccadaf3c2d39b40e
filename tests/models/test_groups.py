"""Optimiser groups of fine-tuned models."""

from torch import nn

from msabench.models.groups import bert_groups, encoder_groups


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1)
        self.text = nn.ModuleDict({"dense": nn.Linear(2, 2), "LayerNorm": nn.LayerNorm(2)})
        self.audio, self.visual, self.memory = nn.Linear(3, 1), nn.Linear(4, 1), nn.Linear(5, 1)


def test_biases_and_norms_of_bert_are_not_decayed() -> None:
    text = Parts().text
    decayed, plain = bert_groups(text, lr=1e-4, weight_decay=0.1)
    assert decayed == {"params": [text["dense"].weight], "lr": 1e-4, "weight_decay": 0.1}
    assert (plain["lr"], plain["weight_decay"], len(plain["params"])) == (1e-4, 0, 3)


def test_encoders_have_groups_of_their_own_and_the_rest_shares_one() -> None:
    model = Parts()
    rates = {"bert": 1.0, "audio": 2.0, "visual": 3.0, "other": 4.0}
    bert, plain, audio, visual, other = encoder_groups(model, rates, {part: lr / 10 for part, lr in rates.items()})
    assert [g["lr"] for g in (bert, plain, audio, visual, other)] == [1, 1, 2, 3, 4]
    assert [g["weight_decay"] for g in (bert, plain, audio, visual, other)] == [0.1, 0, 0.2, 0.3, 0.4]
    for group, expected in ((audio, [model.audio]), (visual, [model.visual]), (other, [model.head, model.memory])):
        assert [id(p) for p in group["params"]] == [id(p) for part in expected for p in part.parameters()]


def test_frozen_parameters_are_in_no_group() -> None:
    model = Parts()
    for part in (model.text["LayerNorm"], model.memory):
        part.requires_grad_(False)
    same = dict.fromkeys(("bert", "audio", "visual", "other"), 1.0)
    grouped = {id(p) for group in encoder_groups(model, same, same) for p in group["params"]}
    assert grouped == {id(p) for p in model.parameters() if p.requires_grad}
