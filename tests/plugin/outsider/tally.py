"""A sink that counts rows in a file of the run's folder."""


class Tally:
    def __init__(self, run):
        self.file = (run.folder / "tally").open("a")

    def write(self, row):
        self.file.write(f"{row['updates']}\n")

    def close(self):
        self.file.close()
