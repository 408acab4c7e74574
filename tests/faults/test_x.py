def test_x(host, trained, small_disk):
    import time
    for c in (("info","run"),("predict","videos/val","--model","run"),("evaluate","videos","--model","run","--num-workers","0")):
        t=time.time(); r=host.run(*c, folder=trained); print(r, time.time()-t)
    import shutil
    shutil.copytree(trained/"videos", small_disk.root/"videos")
    small_disk.fill(free=20000)
    r=host.run("train","--config","run.toml","--output",small_disk.root/"run",folder=trained); print(r)
    import subprocess; print(subprocess.run(["find",small_disk.root],capture_output=True,text=True).stdout)
