import { mount } from 'cluster-fs';
const fs = await mount(process.argv[2]); const size=256<<20;
await fs.promises.writeFile('/stored', Buffer.alloc(size,7));
const v = await fs.map('/stored'); const b=v.bytes;
const med=a=>a.sort((x,y)=>x-y)[a.length>>1];
for (let r=0;r<7;r++){ await fs.evict('/stored'); const t=[]; for(let k=size/65536-1;k>0;k-=3){const s=performance.now(); Atomics.load(b,k*65536); t.push((performance.now()-s)*1000);} const m=med(t); 
 await fs.evict('/stored'); const s=performance.now(); for(let at=0;at<size;at+=4096) Atomics.load(b,at); const ms=performance.now()-s; console.log('touch',m.toFixed(0),'us; p10',t[t.length/10|0].toFixed(0),'seq',(size/ms/1e6).toFixed(2),'GB/s'); }
v.close(); await fs.unmount();
