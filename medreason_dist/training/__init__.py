"""From a published dataset to a fine-tuned model that vLLM loads.

    chats.py        what a model learns: the dataset's rows as conversations, by target
    sequences.py    conversations as token ids, and which of them count
    plan.py         what a fine-tuned model depends on
    worker.py       what each worker does: TRL's SFTTrainer, checkpoints to storage, resume
    model.py        the trained weights as a model's folder
    console.py      metrics as lines
    pipeline.py     all of it as one chain
    page.py         the loss curve and what came out, as a page

transformers, TRL and PEFT train; Ray Train starts the workers, moves checkpoints and starts lost ones anew. TRL, because
its SFTTrainer takes token ids with a mask of what is learned, packs them by best fit and gives the model positions that
start anew with each chat, by which transformers' attention keeps packed chats apart; the rest is transformers' own
Trainer, whose checkpoints have the optimiser, the schedule, random states and the place in the data, and which takes
FSDP and DeepSpeed through accelerate.
"""
